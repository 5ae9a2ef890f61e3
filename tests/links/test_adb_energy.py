"""The energy of an inference on a stand-in phone whose battery gives what a table says."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.links.families.adb import power
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.pipeline.export import Builder
from mvdeploy.records.run import load_run
from tests.android import tables
from tests.android.battery import NOISE_UA, RUNNING_UA, UV, WATTS_ABOVE_REST, Battery
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.kit import aarch64_kit
from tests.android.phone import Phone

__all__ = ["aarch64_kit", "adb_server", "make_phone", "phone"]

CHARGING = tables.BATTERY_TEXT
RESTING = CHARGING.replace("USB powered: true", "USB powered: false").replace(
    "status: 2", "status: 3"
)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (RESTING, ""),
        (CHARGING, "USB"),
        (CHARGING.replace("Wireless powered: false", "Wireless powered: true"), "USB, Wireless"),
        (RESTING.replace("status: 3", "status: 2"), "charging"),
        (RESTING.replace("status: 3", "status: 5"), ""),
        ("", "unknown"),
        ("Can't find service: battery", "unknown"),
    ],
)
def test_what_feeds_a_phone(text: str, how: str) -> None:
    assert power.supply(text) == how


def test_a_battery_that_was_set_by_hand_is_not_believed() -> None:
    head = "Current Battery Service state:\n"
    with pytest.raises(Unmetered, match="set by hand") as caught:
        power.supply(
            RESTING.replace(head, f"{head}  (UPDATES STOPPED -- use 'reset' to restart)\n")
        )
    assert "dumpsys battery reset" in caught.value.remedy


@pytest.fixture
def attached(phone: Phone, adb_server) -> Phone:
    adb_server.run("connect", phone.address)
    return phone


@pytest.fixture
def shell(attached: Phone) -> Iterator[AdbShell]:
    with Adb() as adb:
        yield AdbShell(adb, attached.address)


def read(meter: Meter) -> list[tuple[int, ...]]:
    """Return what a meter tells in a few seconds."""
    with meter:
        until = time.monotonic() + 30
        while len(meter.between(0.0, 99.0)) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        return [reading.values for reading in meter.between(0.0, 99.0)]


@pytest.mark.slow
def test_meters_of_phones_that_tell_it_in_different_ways(attached: Phone, shell) -> None:
    with Battery(attached, sign=-1):
        meter = power.meter(shell)
        assert meter.about.battery and not meter.about.assumed
        assert all(v == UV and -200_000 < i < -100_000 for i, v in read(meter))
        assert meter.fed() == ""
    with Battery(attached, unit=1000):
        meter = power.meter(shell)
        assert "in mA" in meter.about.assumed
        assert {c.unit for c in meter.about.channels} == {1e-3, 1e-6}
    for name in ("current_now", "voltage_now"):
        (attached.root / "sys/class/power_supply/battery" / name).unlink()
    with Battery(attached, files=False):
        meter = power.meter(shell)
        assert meter.about.interval_s == 1.0
        assert all(v == 4268 and 100_000 < i < 200_000 for i, v in read(meter))
    (attached.root / tables.CURRENT[1:]).unlink()
    with pytest.raises(Unmetered, match="does not let programs at adb read the current"):
        power.meter(shell)
    attached.set_battery(86)
    with pytest.raises(Unmetered, match=r"being fed \(USB\)") as caught:
        power.meter(shell)
    assert "adb tcpip 5555" in caught.value.remedy
    assert attached.processes() == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "net.onnx"
    Builder(models.make_spec("yardstick")).export("onnx", path)
    return path


def bench(path: Path, out: Path, *more: str) -> tuple[Path, str]:
    """Measure as it is typed; return the folder of the run, and what was printed."""
    few = ("--iterations", "6", "--sessions", "2", "--warmup", "1", "--no-breakdown")
    words = [sys.executable, "-m", "mvdeploy", "bench", str(path), "--device", "pixel4", *few]
    done = subprocess.run(
        [*words, "--energy", *more, "-o", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = out.iterdir()
    return folder, done.stdout + done.stderr


@pytest.mark.slow
def test_the_energy_of_an_inference_is_what_the_tables_imply(
    attached: Phone, aarch64_kit: Path, exported: Path, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    with Battery(attached):
        folder, printed = bench(exported, tmp_path / "out", "--energy-time", "2")
    saved = load_run(folder)
    assert saved.energy is not None and saved.energy.problem == ""
    blocks = [block for block in saved.energy.blocks if block.case]
    assert len(blocks) == 6
    blocks = [block for block in blocks if not block.problem]
    # By the runner's own clock, and the table: the watts above rest, for as long as it takes.
    each_s = sum(b.inference_ns / 1e9 / b.inferences for b in blocks) / len(blocks)
    (row,) = csv.DictReader((folder / "energy.csv").read_text().splitlines())
    assert float(row["energy_mj"]) == pytest.approx(1e3 * WATTS_ABOVE_REST * each_s, rel=0.03)
    running_w = RUNNING_UA * UV * 1e-12
    assert float(row["power_w"]) == pytest.approx(running_w, abs=NOISE_UA * UV * 1e-12)
    assert float(row["interval_low_mj"]) < float(row["energy_mj"]) < float(row["interval_high_mj"])
    shown = re.search(r"Energy per inference above the device at rest, of the whole", printed)
    assert shown is not None, printed
    text = (folder / "report.md").read_text()
    assert "Energy per inference above the device at rest, mJ (measured)" in text
    assert "battery (/sys/class/power\\_supply/battery)" in text.replace("power_s", "power\\_s")
    assert attached.processes() == [] and list(attached.tmp.iterdir()) == []


@pytest.mark.slow
def test_a_phone_that_is_charging_has_no_energy_and_its_latency_stands(
    attached: Phone, aarch64_kit: Path, exported: Path, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    folder, printed = bench(exported, tmp_path / "out", "--json")
    assert "energy is unavailable as things are: The device is being fed (USB)" in printed
    body = json.loads(printed[printed.index("{\n") : printed.rindex("}") + 1])
    assert body["energy"]["meter"] is None and "(USB)" in body["energy"]["problem"]
    assert body["cases"][0]["latency_ms"]["p50"] > 0
    assert "energy_unavailable" in {finding["code"] for finding in body["findings"]}
    text = (folder / "report.md").read_text()
    assert "Energy per inference: unavailable. The device is being fed" in text


@pytest.mark.slow
def test_a_phone_that_is_plugged_in_half_way_keeps_what_came_before(
    attached: Phone, aarch64_kit: Path, exported: Path, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    with Battery(attached) as battery:
        battery.charge_at(lambda: energy_blocks(tmp_path / "out") >= 9)
        folder, printed = bench(exported, tmp_path / "out", "--energy-time", "2")
    saved = load_run(folder)
    assert saved.energy is not None
    assert "being fed (USB) from block" in saved.energy.problem
    assert [b.problem for b in saved.energy.blocks].count("the device was being fed (USB)") == 1
    assert saved.energy.blocks[-1].fed_after == "USB"
    (row,) = csv.DictReader((folder / "energy.csv").read_text().splitlines())
    # On a busy machine blocks are left out in which the program stood still; three give a number.
    assert 1 <= int(row["blocks"]) < 6
    enough = int(row["blocks"]) >= 3
    assert not enough or float(row["energy_mj"]) > 0
    assert ("energy_ended_early" if enough else "energy_unavailable") in printed


def energy_blocks(out: Path) -> int:
    """Return how many blocks a run has kept so far."""
    return sum(len(json.loads(p.read_text())["blocks"]) for p in out.glob("*/energy.json"))
