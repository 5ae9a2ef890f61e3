"""Links whose devices tell no power, and a meter that is read through a real ssh server."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvdeploy.links.families.host import HostLink
from mvdeploy.links.power import ShellMeter, Unmetered
from mvdeploy.links.sysfs_power import printing
from mvdeploy.records.energy import Channel, PowerMeter
from tests.links.test_sysfs_power import taken, waits
from tests.metered import PROFILE
from tests.ssh.fixtures import board
from tests.timing.conftest import FakeLink

__all__ = ["board"]


@pytest.mark.parametrize("device", ["mac", "iphone12"])
def test_apples_devices_tell_no_power(make_link, device: str) -> None:
    with make_link(device) as link, pytest.raises(Unmetered, match="tells the power") as caught:
        link.meter()
    assert caught.value.remedy.endswith(".")


def test_a_link_that_knows_of_no_meter_says_so() -> None:
    with pytest.raises(Unmetered, match="Nothing tells the power that Fake takes"):
        FakeLink(PROFILE).meter()


def test_a_mac_is_not_looked_into_for_what_linux_has(monkeypatch, profile) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unmetered, match="its administrator only"):
        HostLink(profile).meter()


def test_a_meter_behind_ssh_is_read_until_it_is_stopped(board, tmp_path: Path) -> None:
    current, voltage = tmp_path / "current_now", tmp_path / "voltage_now"
    current.write_text("-412000\n")
    voltage.write_text("3912000\n")
    channels = Channel(str(current), "current", 1e-6), Channel(str(voltage), "voltage", 1e-6)
    meter = ShellMeter(PowerMeter("b", "it", channels, 0.1), board, printing_of(channels))
    began = time.monotonic()
    with meter:
        assert waits(lambda: len(taken(meter)) > 2)
        current.write_text("-690000\n")
        assert waits(lambda: taken(meter)[-1][0] == -690_000)
        lasted = time.monotonic() - began
    assert taken(meter)[0] == (-412_000, 3_912_000)
    times = [reading.at_s for reading in meter.between(0.0, 99.0)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= lasted + 0.1
    assert waits(lambda: str(current) not in running()), "it is still read"


def printing_of(channels: tuple[Channel, ...]) -> str:
    return printing(PowerMeter("b", "it", channels, 0.1))


def running() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
