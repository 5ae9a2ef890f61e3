"""What Linux boards tell: samples of their answers, and this machine through a real ssh server."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.links.families.host import readings
from mvdeploy.links.families.ssh import linux
from mvdeploy.links.families.ssh.shell import SshShell
from mvdeploy.links.gather import reading
from mvdeploy.links.kernel import KERNEL, highest_clocks
from mvdeploy.records import UNAVAILABLE
from tests.links.answers import (
    any_of,
    assert_saved_as_they_are,
    damaged,
    documented,
    lackable,
    unavailable,
)
from tests.ssh.fixtures import board, server
from tests.ssh.server import SshServer, need

__all__ = ["board", "server"]

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
    "boot": "4ab3a2ab-6f0c-43f5-a6a4-0e2b4ce9c0f9\n",
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
NOTHING = dict.fromkeys(RASPBERRY, "")


# Samples


def test_what_a_raspberry_pi_is() -> None:
    assert linux.identity(RASPBERRY) == {
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
    assert linux.properties(RASPBERRY) == {
        "ro.product.model": "Raspberry Pi 5 Model B Rev 1.0",
        "ro.soc.model": "implementer 0x41, part 0xd0b",
        "ro.product.cpu.abi": "aarch64",
    }


def test_what_an_x86_machine_is() -> None:
    identity = linux.identity(LAPTOP)
    assert identity["cpu"] == "12th Gen Intel(R) Core(TM) i7-1260P"
    assert (identity["machine"], identity["architecture"]) == ("XPS 13 9320", "x86_64")
    assert (identity["os"], identity["hypervisor"]) == ("Arch", "no")


def test_a_virtual_machine() -> None:
    text = LAPTOP["cpu"].replace("fpu sse", "fpu hypervisor sse")
    assert linux.identity(LAPTOP | {"cpu": text})["hypervisor"] == "yes"


@pytest.mark.parametrize(
    "text", ["", "processor\t: 0\n", "model name\t:  \n", "CPU part\t: 0xd0b\n", "no colon\n"]
)
def test_a_processor_that_has_no_name(text: str) -> None:
    assert linux.identity(RASPBERRY | {"cpu": text})["cpu"] == UNAVAILABLE


def test_what_is_denied_is_unavailable() -> None:
    identity = linux.identity(NOTHING)
    assert unavailable(identity) == identity.keys() - {"python"}
    assert linux.properties(NOTHING) == {}


@settings(max_examples=300)
@given(any_of(RASPBERRY) | any_of(LAPTOP))
def test_any_answers_give_an_identity(answers: dict[str, str]) -> None:
    assert_saved_as_they_are(linux.identity(answers))
    assert UNAVAILABLE not in linux.properties(answers).values()


# Through ssh

CPU = Path("/sys/devices/system/cpu")


@pytest.fixture
def raspberry(server: SshServer, tmp_path: Path) -> Iterator[SshShell]:
    """A server whose system has the files, and the program, of a Raspberry Pi."""
    need(os.getuid() == 0, "root's rights")
    classes, cpu, programs = (tmp_path / name for name in ("class", "cpu", "programs"))
    for number, (kind, temp) in {0: ("cpu-thermal", 48850), 10: ("gpu thermal", -1500)}.items():
        zone = classes / "thermal" / f"thermal_zone{number}"
        write(zone / "type", f"{kind}\n")
        write(zone / "temp", f"{temp}\n")
    write(classes / "thermal" / "thermal_zone2" / "temp", "51000\n")
    write(classes / "dmi" / "id" / "product_name", "Raspberry Pi 5 Model B Rev 1.0\0")
    for core in (0, 1, 10, 2):
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            write(cpu / f"cpu{core}" / "cpufreq" / name, f"{2_400_000 + core}\n")
    write(cpu / "cpuidle" / "current_driver", "none\n")
    write(tmp_path / "cpuinfo", RASPBERRY["cpu"])
    write(programs / "vcgencmd", f"#!/bin/sh\ncat '{tmp_path}/capped'\n")
    (programs / "vcgencmd").chmod(0o755)
    places = {classes: "/sys/class", cpu: str(CPU), tmp_path / "cpuinfo": "/proc/cpuinfo"}
    mounts = "; ".join(f"mount --bind '{mine}' {there}" for mine, there in places.items())
    server.start(before=mounts, PATH=f"{programs}:{os.environ['PATH']}")
    with contextlib.closing(server.open_shell()) as shell:
        yield shell


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_a_board_is(raspberry: SshShell) -> None:
    identity = linux.identity(linux.ask(raspberry))
    # There is no line's end after the machine's name, nor a /proc/device-tree.
    assert identity["machine"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert identity["architecture"] == platform.machine()
    assert identity["cpu"] == "implementer 0x41, part 0xd0b"
    assert identity["cores_logical"] == 4
    assert identity["hypervisor"] == UNAVAILABLE


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("throttled=0x0", "none"),
        ("throttled=0x50000", "none"),  # it was, since the start of the system
        ("throttled=0x50005", "capped"),
        ("throttled=0x8", "capped"),
    ],
)
def test_how_a_board_is(raspberry: SshShell, tmp_path: Path, answer: str, status: str) -> None:
    write(tmp_path / "capped", f"{answer}\n")
    readings = linux.state(raspberry).readings
    assert_saved_as_they_are(readings)
    assert readings["thermal_status"] == status
    assert readings["temperatures_c"] == (
        "cpu-thermal=48.85",
        "gpu thermal=-1.5",
        "thermal_zone2=51",
    )
    assert readings["cpu_khz"] == ("2400000", "2400001", "2400002", "2400010")
    assert readings["cpu_hardware_max_khz"] == readings["cpu_max_khz"] == readings["cpu_khz"]
    assert readings["governor"] == UNAVAILABLE


@pytest.mark.parametrize("answer", ["", "throttled=0x\n", "VCHI initialization failed\n"])
def test_a_board_that_does_not_tell_whether_it_is_capped(
    raspberry: SshShell, tmp_path: Path, answer: str
) -> None:
    write(tmp_path / "capped", answer)
    assert "thermal_status" not in linux.state(raspberry).readings


def test_the_highest_clocks_of_a_board(raspberry: SshShell) -> None:
    clocks = highest_clocks(linux.ask(raspberry)["clocks"])
    assert clocks == {core: 2_400_000 + core for core in (0, 1, 2, 10)}


@pytest.mark.parametrize(
    "name", ["cpu", "architecture", "memory_bytes", "machine", "os", "kernel", "hypervisor"]
)
def test_this_machine_is_the_same_through_ssh_as_on_the_spot(board: SshShell, name: str) -> None:
    assert linux.identity(linux.ask(board))[name] == readings.identity()[name]


def test_the_condition_of_this_machine(board: SshShell) -> None:
    state = linux.state(board)
    assert_saved_as_they_are(state.readings)
    taken = datetime.datetime.fromisoformat(state.taken_at)
    assert taken.utcoffset() == datetime.timedelta(0)
    assert unavailable(state.readings) & {"loadavg_1", "total_ticks", "context_switches"} == set()
    assert state.readings["affinity"] == tuple(map(str, sorted(os.sched_getaffinity(0))))


# What is documented


def test_every_reading_is_documented_and_given(board: SshShell) -> None:
    names, found = documented("Link.state"), linux.state(board).readings.keys()
    assert found <= names.keys()
    assert (
        names.keys() - lackable(names, "may lack it", "lacks it", "phones only", "host only")
        <= found
    )
    names, identity = documented("Link.identity"), linux.identity(NOTHING)
    assert identity.keys() == names.keys() - lackable(names, "phones only", "host only")


def test_the_questions_have_names_of_their_own() -> None:
    assert not KERNEL.keys() & linux._CONDITION.keys()


@settings(max_examples=200)
@given(damaged("/sys/class/thermal/thermal_zone0/type:x\n/thermal_zone0/temp:48850\n") | st.text())
def test_any_text_gives_temperatures(text: str) -> None:
    assert_saved_as_they_are({"temperatures_c": reading(lambda: linux._temperatures(text))})


@settings(max_examples=200)
@given(damaged("throttled=0x50005\n") | st.text())
def test_any_text_tells_whether_a_board_is_capped(text: str) -> None:
    assert reading(lambda: linux._capped(text)) in ("capped", "none", UNAVAILABLE)
