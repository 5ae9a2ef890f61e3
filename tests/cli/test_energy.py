"""Energies as they are asked for at the command line."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from mvdeploy import models
from mvdeploy.cli.commands import compare as compare_cli
from mvdeploy.links import sysfs_power
from mvdeploy.links.power import Unmetered
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.report import view
from mvdeploy.records.run import load_run
from mvdeploy.report import renderer
from tests.links.test_sysfs_power import POWERCAP, tree, zone

REST_W, RUNNING_W = 3.0, 8.0
SHORT = ("--warmup", "1", "--no-breakdown")


def typed(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mvdeploy", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_this_machine_tells_its_energy_or_why_it_does_not(tmp_path: Path) -> None:
    few = ("--iterations", "4", "--sessions", "2", "--energy-time", "0.5")
    words = ("bench", "yardstick", "--format", "onnx", *few, *SHORT, "--energy", "--json")
    done = typed(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["cases"][0]["latency_ms"]["p50"] > 0
    try:
        sysfs_power.of_this_machine(Path("/"))
    except Unmetered as error:
        assert body["energy"]["problem"] == error.message
        assert body["energy"]["remedy"] == error.remedy
        assert f"energy is unavailable as things are: {error.message}" in done.stderr
        assert "energy_unavailable" in {finding["code"] for finding in body["findings"]}
    else:
        assert body["energy"]["meter"] is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench", "--energy-time", "5"), "no energy is asked for"),
        (("bench", "--energy", "--energy-time", "0.1"), "0.5<=x<=600"),
        (("compare", "one", "two", "--energy"), "Of saved results no energy is measured"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    done = typed(*words, folder=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def is_runner(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "mvdeploy.runners.host" in process.cmdline()
    return False


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A counter that begins anew every 5 J, and counts more while this process has a runner."""
    root = tree(tmp_path / "root", zone("intel-rapl:0", "package-0", 0, 5_000_000))
    counter = root / POWERCAP / "intel-rapl:0/energy_uj"
    ending = threading.Event()

    def count() -> None:
        joules, before = 0.0, time.monotonic()
        part = counter.with_suffix(".part")
        while not ending.wait(0.02):
            runs = any(map(is_runner, psutil.Process().children()))
            now = time.monotonic()
            joules, before = joules + (RUNNING_W if runs else REST_W) * (now - before), now
            part.write_text(f"{round(joules * 1e6) % 5_000_000}\n")
            part.replace(counter)

    thread = threading.Thread(target=count)
    thread.start()
    of_this_machine = functools.partial(sysfs_power.of_this_machine, root)
    monkeypatch.setattr(
        sysfs_power, "of_this_machine", lambda _root, sensor: of_this_machine(sensor)
    )
    yield tmp_path
    ending.set()
    thread.join()


@pytest.mark.slow
def test_two_cases_on_a_counter_of_this_machine(counted: Path) -> None:
    path = counted / "net.onnx"
    Builder(models.make_spec("yardstick")).export("onnx", path)
    out = counted / "out"
    few = ("--max-time", "1", "--groups", "4", *SHORT)
    done = CliRunner().invoke(
        compare_cli.command,
        [str(path), str(path), *few, "--energy", "--energy-time", "1", "-o", str(out)],
    )
    assert done.exit_code == 0, done.output
    (folder,) = out.iterdir()
    found = load_run(folder).energy
    assert found is not None and found.problem == "" and found.meter is not None
    assert [b.problem for b in found.blocks if b.problem] == []
    assert [channel.wraps_at for channel in found.meter.channels] == [5_000_000]
    # The counter begins anew within blocks, and they count all the same.
    assert any(r.values < q.values for b in found.blocks for q, r in itertools.pairwise(b.readings))
    body = renderer("json").as_json(view(folder))
    for case in body["energy"]["cases"]:
        each = [b for b in found.blocks if b.case == case["slug"]]
        each_s = sum(b.inference_s for b in each) / len(each)
        expected = 1e3 * (RUNNING_W - REST_W) * each_s
        assert case["reason"] is None
        assert case["energy_mj"]["value"] == pytest.approx(expected, rel=0.1)
    (pair,) = body["energy"]["pairs"]
    assert pair["ratio"]["low"] < 1.1 and pair["ratio"]["high"] > 0.9
