"""Runs on a stand-in phone, from the command line to the report, and one that is cut short."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mvdeploy import devices, links, models
from mvdeploy.cli.commands import bench as bench_cli
from mvdeploy.cli.commands import devices as devices_cli
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.pipeline import bench, report
from mvdeploy.pipeline.compare import compare_results
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import CoolDown, Plan, Warmup
from mvdeploy.records.run import load_run
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.kit import aarch64_kit
from tests.android.phone import Phone
from tests.android.server import AdbServer
from tests.saved_runs import without_checksum

__all__ = ["aarch64_kit", "adb_server", "make_phone", "phone"]

pytestmark = pytest.mark.slow

PLAN = Plan(
    warmup=Warmup(iterations=1), iterations=4, sessions=2, profile_iterations=2, cores=(4, 5, 6, 7)
)


@pytest.fixture
def attached(phone: Phone, adb_server, aarch64_kit: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    adb_server.run("connect", phone.address)
    return phone


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("exports")
    builder = Builder(models.make_spec("yardstick"))
    paths = {"onnx": folder / "net.onnx", "executorch": folder / "net.pte"}
    for format_name, path in paths.items():
        builder.export(format_name, path)
    return tuple(paths.values())


def test_a_run_as_it_is_typed(attached: Phone, tmp_path: Path) -> None:
    arguments = ["yardstick", "--device", "pixel4", "--iterations", "2"]
    few = ["--sessions", "1", "--warmup", "1", "--threads", "2"]
    done = CliRunner().invoke(bench_cli.command, [*arguments, *few, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "out").iterdir()
    saved = load_run(folder)
    assert {case.engine for case in saved.cases} == {"executorch", "onnxruntime"}
    assert saved.run.device.emulated
    for case in saved.cases:
        assert case.failure is None and case.measurement is not None
        assert case.measurement.conditions["cores"] == ("4", "5", "6", "7")
        assert str(case.measurement.conditions["runner"]).endswith("(glibc build)")
        assert case.measurement.before.readings["thermal_status"] == "none"
        assert report.breakdowns(saved)[case.slug].attributed_share >= 0.95
    text = (folder / "report.md").read_text()
    assert "on Pixel 4" in text and "an emulated device" in text
    assert "its times are not those of any real device" in text
    assert attached.processes() == [] and list(attached.tmp.iterdir()) == []


def test_what_was_finished_is_kept_when_the_phone_is_lost(
    attached: Phone, exports: tuple[Path, ...], tmp_path: Path
) -> None:
    sessions = 0

    def on_step(step: str) -> None:
        nonlocal sessions
        sessions += ": session " in step
        if sessions == 4:  # the last one: engines take turns
            attached.unplug()

    folder = bench.run(request_for(attached, exports, tmp_path), on_step).folder
    first, second = sorted(load_run(folder).cases, key=lambda case: case.failure is not None)
    assert first.failure is None
    assert first.measurement is not None and len(first.measurement.steady) == 4
    assert second.failure is not None
    assert second.failure.exit_code == DeviceUnavailable.exit_code
    assert second.measurement is not None and len(second.measurement.steady) == 2
    assert "left_behind" in {finding.code for finding in load_run(folder).run.findings}
    report.render(folder)
    text = (folder / "report.md").read_text()
    assert "Files were left on Pixel 4" in text
    assert first.label in text


def test_what_is_left_is_told_when_nothing_was_finished(
    attached: Phone, adb_server: AdbServer, exports: tuple[Path, ...], tmp_path: Path
) -> None:
    def on_step(step: str) -> None:
        if step.startswith("send net.onnx"):
            attached.unplug()

    with pytest.raises(DeviceUnavailable) as caught:
        bench.run(request_for(attached, exports[:1], tmp_path), on_step)
    assert "Files were left on Pixel 4 in /data/local/tmp/mvdeploy" in caught.value.remedy
    assert "before its fixed-performance mode could be switched off" in caught.value.remedy
    attached.plug()
    adb_server.run("disconnect", attached.address)
    adb_server.run("connect", attached.address)
    done = CliRunner().invoke(devices_cli.command, ["clean", attached.address])
    assert done.exit_code == 0, done.output
    assert "MB removed from /data/local/tmp/mvdeploy on Pixel 4" in done.output
    assert "Fixed-performance mode, which a run had left on, was switched off." in done.output
    assert attached.fixed_performance_calls == ["true", "false"]
    assert list(attached.tmp.iterdir()) == []


def test_results_of_different_modes_are_not_compared(
    attached: Phone, exports: tuple[Path, ...], tmp_path: Path
) -> None:
    request = request_for(attached, exports[:1], tmp_path / "on")
    off = dataclasses.replace(
        request, root=tmp_path / "off", link_options={"fixed_performance": "off"}
    )
    folders = [bench.run(one).folder for one in (request, off)]
    with pytest.raises(UsageError, match="fixed performance is on for the first and off"):
        compare_results(*folders)
    report.render(folders[1])
    text = (folders[1] / "report.md").read_text()
    assert re.search(r"fixed_performance *\| off *\| off", text)
    assert re.search(r"scheduling_groups *\| .*cpuset=/", text)


def test_both_modes_are_measured_in_turns(attached: Phone, exports, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mvdeploy", "bench", str(exports[0]), "--device", "pixel4"]
    few = ["--iterations", "4", "--sessions", "2", "--warmup", "1", "--threads", "2"]
    out = tmp_path / "out"
    asked = ["--fixed-performance", "both", "-o", str(out)]
    done = subprocess.run([*command, *few, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = out.iterdir()
    saved = load_run(folder)
    modes = {}
    for case in saved.cases:
        assert case.measurement is not None and case.device is not None
        assert case.trace is not None
        title = case.device.profile.title
        modes[title] = case.measurement.before.readings["fixed_performance"]
        assert [len(session.steady) for session in case.measurement.sessions] == [2, 2]
    assert modes == {"Pixel 4 (fixed performance)": "on", "Pixel 4 (as apps run)": "off"}
    assert [case.slug for case in saved.cases] == ["net.onnx-fixed", "net.onnx-free"]
    assert [order.created for order in saved.orders] == [(slug,) for slug in saved.run.cases] * 2
    # Once it is entered, each is probed, then two sessions of each, then each is profiled.
    entered = attached.fixed_performance_calls
    assert entered == ["true", "false"] * (len(entered) // 2) and len(entered) == 8
    text = (folder / "report.md").read_text()
    assert "Pixel 4 (fixed performance)" in text and "Pixel 4 (as apps run)" in text
    assert attached.processes() == [] and list(attached.tmp.iterdir()) == []


def test_both_modes_of_a_phone_without_one_are_refused(
    attached: Phone, exports: tuple[Path, ...], tmp_path: Path
) -> None:
    attached.deny_fixed_performance()
    request = dataclasses.replace(
        request_for(attached, exports[:1], tmp_path), link_options={"fixed_performance": "both"}
    )
    with pytest.raises(DeviceUnavailable, match="no two ways to measure") as caught:
        bench.run(request)
    assert "'--fixed-performance both'" in caught.value.remedy
    assert list(attached.tmp.iterdir()) == []


def test_an_emulated_result_is_not_compared_with_a_real_one(
    attached: Phone, exports: tuple[Path, ...], tmp_path: Path
) -> None:
    folder = bench.run(request_for(attached, exports[:1], tmp_path)).folder
    real = tmp_path / "real"
    folder.rename(real)
    (record,) = real.glob("cases/*/case.json")
    text = without_checksum(record)
    text["device"]["emulated"] = False
    again = tmp_path / "again"
    again.mkdir()
    for path in real.rglob("*"):
        if path.is_file():
            target = again / path.relative_to(real)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    record.write_text(json.dumps(text))
    with pytest.raises(UsageError, match="emulated"):
        compare_results(again, real)


def request_for(attached: Phone, exports: tuple[Path, ...], tmp_path: Path) -> bench.Request:
    profile = dataclasses.replace(
        devices.get("pixel4"), address=attached.address, cool_down=CoolDown(limit_s=1, poll_s=1)
    )
    return bench.Request(
        subjects=exports, formats=("onnx",), device=profile, plan=PLAN, root=tmp_path / "out"
    )


def test_without_a_phone_the_status_is_3(adb_server, tmp_path: Path) -> None:
    profile = links.profile("pixel4")
    request = bench.Request((), ("onnx",), profile, PLAN, tmp_path / "out")
    with pytest.raises(DeviceUnavailable, match="No phone is attached") as caught:
        bench.run(request)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()
