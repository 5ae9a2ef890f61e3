"""Sustained load on a stand-in phone: one that gets hot, and one that is unplugged."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import devices, models
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.pipeline import bench, report
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Case, CoolDown, Plan, Warmup
from mvdeploy.records.run import load_run
from mvdeploy.timing import sustained
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.kit import aarch64_kit
from tests.android.phone import Phone

__all__ = ["aarch64_kit", "adb_server", "make_phone", "phone"]

pytestmark = pytest.mark.slow

PLAN = Plan(
    warmup=Warmup(iterations=1),
    sustained_s=14.0,
    interval_s=1.0,
    profile_iterations=0,
    cores=(4, 5, 6, 7),
)
HALF = 7


@pytest.fixture
def attached(phone: Phone, adb_server, aarch64_kit: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    monkeypatch.setattr(sustained, "POLL_S", 0.5)
    adb_server.run("connect", phone.address)
    return phone


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "net.onnx"
    Builder(models.make_spec("yardstick")).export("onnx", path)
    return path


def run(
    phone: Phone, export: Path, root: Path, half_way: Callable[[], None], plan: Plan = PLAN
) -> tuple[Path, Case]:
    """Run a case, and do something when so many of its intervals are over."""
    over = 0

    def on_step(step: str) -> None:
        nonlocal over
        over += ", p50 " in step
        if over == HALF:
            over += 1
            half_way()

    profile = dataclasses.replace(
        devices.get("pixel4"), address=phone.address, cool_down=CoolDown(limit_s=1, poll_s=1)
    )
    request = bench.Request((export,), ("onnx",), profile, plan, root)
    folder = bench.run(request, on_step).folder
    (case,) = load_run(folder).cases
    return folder, case


def test_heat_and_clocks_are_read_along_the_same_axis(
    attached: Phone, export: Path, tmp_path: Path
) -> None:
    def get_hot() -> None:
        attached.heat(61.0, 3)
        for core in (4, 7):
            attached.set_clock(core, scaling_cur_freq=1_000_000, scaling_max_freq=1_000_000)

    folder, case = run(attached, export, tmp_path, get_hot)
    assert case.failure is None and case.sustained is not None
    known = case.sustained
    assert known.ended == "" and known.until_s == pytest.approx(14.0, abs=4.0)
    statuses = [m.state.readings["thermal_status"] for m in known.moments]
    assert statuses[0] == "none" and statuses[-1] == "severe"
    first = next(m for m in known.moments if m.state.readings["thermal_status"] == "severe")
    assert 4.0 < first.at_s < 14.0
    report.render(folder)
    rows = (folder / "intervals.csv").read_text().splitlines()
    assert len(rows) == 1 + len(known.intervals)
    assert ",severe,61.0," in rows[-1] or ",severe,61.0," in rows[-2]
    assert "under sustained load on Pixel 4" in (folder / "report.md").read_text()
    assert attached.processes() == [] and list(attached.tmp.iterdir()) == []


def test_a_phone_that_comes_back_goes_on(attached: Phone, export: Path, tmp_path: Path) -> None:
    def pull() -> None:
        attached.unplug()
        threading.Timer(2.0, attached.plug).start()

    folder, case = run(attached, export, tmp_path, pull)
    assert case.failure is None and case.sustained is not None
    known = case.sustained
    (gap,) = known.gaps
    assert known.ended == ""
    assert 1.5 < gap.length_s < 20.0
    after = [i for i in known.intervals if i.start_s >= gap.start_s + gap.length_s - 0.001]
    assert after and len(after) < len(known.intervals)
    report.render(folder)
    assert "the device was gone from" in (folder / "report.md").read_text()
    assert attached.processes() == [] and list(attached.tmp.iterdir()) == []


def test_what_was_measured_is_kept_when_the_phone_stays_away(
    attached: Phone, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sustained, "PATIENCE_S", 2.0)
    folder, case = run(attached, export, tmp_path, attached.unplug)
    assert case.failure is not None
    assert case.failure.exit_code == DeviceUnavailable.exit_code
    assert case.sustained is not None and case.sustained.ended
    assert len(case.sustained.intervals) >= HALF
    report.render(folder)
    text = (folder / "report.md").read_text()
    assert "it ended after" in text and "the device was gone from" in text
    assert (folder / "figures/sustained.png").exists()
