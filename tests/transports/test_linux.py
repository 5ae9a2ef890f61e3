"""What Linux boards tell: samples of their answers, and this machine through a real ssh server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings

from mvdeploy.records import UNAVAILABLE
from mvdeploy.transports import _linux, _readings
from mvdeploy.transports._gather import KERNEL
from mvdeploy.transports._ssh import SshShell
from tests.ssh.fixtures import board, server, shell
from tests.ssh.server import SshServer
from tests.transports.answers import (
    any_of,
    assert_saved_as_they_are,
    documented,
    lackable,
    unavailable,
)

__all__ = ["board", "server", "shell"]

RASPBERRY = {
    "cpu": (
        "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n"
        "CPU revision\t: 1\n\nRevision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    ),
    "cores": "".join(f"/sys/devices/system/cpu/cpu{core}\n" for core in range(4)),
    "clocks": "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq:2400000\n",
    "memory": "MemTotal:        8245952 kB\nMemAvailable:    7654321 kB\n",
    "machine": "Raspberry Pi 5 Model B Rev 1.0\0",
    "architecture": "aarch64\n",
    "kernel": "Linux 6.6.31+rpt-rpi-2712\n",
    "os": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n',
}
LAPTOP = RASPBERRY | {
    "cpu": (
        "processor\t: 0\nmodel name\t: 12th Gen Intel(R) Core(TM) i7-1260P\nflags\t\t: fpu sse\n\n"
        "processor\t: 1\nmodel name\t: another\nflags\t\t: fpu sse\n"
    ),
    "machine": "XPS 13 9320\n",
    "architecture": "x86_64\n",
    "os": "NAME=Arch\nPRETTY_NAME=Arch\n",
}
ZONES = (
    "/sys/class/thermal/thermal_zone0/type:cpu-thermal\n"
    "/sys/class/thermal/thermal_zone10/type:gpu thermal\n"
    "/sys/class/thermal/thermal_zone0/temp:48850\n"
    "/sys/class/thermal/thermal_zone10/temp:-1500\n"
    "/sys/class/thermal/thermal_zone2/temp:51000\n"
)
NOTHING = dict.fromkeys(RASPBERRY, "")


# Samples


def test_what_a_raspberry_pi_is() -> None:
    assert _linux.identity(RASPBERRY) == {
        "cpu": "implementer 0x41, part 0xd0b",
        "cores_physical": UNAVAILABLE,
        "cores_logical": 4,
        "architecture": "aarch64",
        "memory_bytes": 8245952 * 1024,
        "machine": "Raspberry Pi 5 Model B Rev 1.0",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "Linux 6.6.31+rpt-rpi-2712",
        "hypervisor": UNAVAILABLE,
        "boost": UNAVAILABLE,
        "python": "none",
    }
    assert _linux.properties(RASPBERRY) == {
        "ro.product.model": "Raspberry Pi 5 Model B Rev 1.0",
        "ro.soc.model": "implementer 0x41, part 0xd0b",
        "ro.product.cpu.abi": "aarch64",
    }


def test_what_an_x86_machine_is() -> None:
    identity = _linux.identity(LAPTOP)
    assert identity["cpu"] == "12th Gen Intel(R) Core(TM) i7-1260P"
    assert (identity["machine"], identity["architecture"]) == ("XPS 13 9320", "x86_64")
    assert (identity["os"], identity["hypervisor"]) == ("Arch", "no")


def test_a_virtual_machine() -> None:
    text = LAPTOP["cpu"].replace("fpu sse", "fpu hypervisor sse")
    assert _linux.identity(LAPTOP | {"cpu": text})["hypervisor"] == "yes"


@pytest.mark.parametrize(
    "text", ["", "processor\t: 0\n", "model name\t:  \n", "CPU part\t: 0xd0b\n", "no colon\n"]
)
def test_a_processor_that_has_no_name(text: str) -> None:
    assert _linux.identity(RASPBERRY | {"cpu": text})["cpu"] == UNAVAILABLE


def test_what_is_denied_is_unavailable() -> None:
    identity = _linux.identity(NOTHING)
    assert unavailable(identity) == identity.keys() - {"python"}
    assert _linux.properties(NOTHING) == {}


@settings(max_examples=300)
@given(any_of(RASPBERRY) | any_of(LAPTOP))
def test_any_answers_give_an_identity(told: dict[str, str]) -> None:
    assert_saved_as_they_are(_linux.identity(told))
    assert UNAVAILABLE not in _linux.properties(told).values()


# How a board is, with the answers of another one


ANSWERS = {"zones": ZONES, "capped": "throttled=0x50005\n"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What every shell answers."""
    answers = dict.fromkeys(KERNEL, "") | ANSWERS
    monkeypatch.setattr(_linux, "gather", lambda _shell, questions: {q: answers[q] for q in questions})
    return answers


def test_temperatures_have_the_names_of_their_zones(told: dict[str, str], board: SshShell) -> None:
    found = _linux.state(board).readings["temperatures_c"]
    assert found == ("cpu-thermal=48.85", "gpu thermal=-1.5", "thermal_zone2=51")
