"""What a Linux board tells of itself through its shell."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from mvdeploy.links.gather import gather, reading
from mvdeploy.links.kernel import (
    BOOT,
    KERNEL,
    core_count,
    hypervisor,
    kernel_state,
    kilobytes,
    processor,
)
from mvdeploy.links.shell import Shell
from mvdeploy.records import UNAVAILABLE, DeviceState, Reading

_IDENTITY = {
    "cpu": "cat /proc/cpuinfo",
    "cores": KERNEL["cores"],
    "clocks": KERNEL["clocks"],
    "memory": KERNEL["memory"],
    "machine": "cat /proc/device-tree/model || cat /sys/class/dmi/id/product_name",
    "architecture": "uname -m",
    "kernel": "uname -sr",
    "os": "cat /etc/os-release",
    "boot": f"cat {BOOT}",
}
_CONDITION = {
    "zones": "grep -H . /sys/class/thermal/thermal_zone[0-9]*/type "
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "capped": "vcgencmd get_throttled",
}


def ask(shell: Shell) -> dict[str, str]:
    """Return what the board says of itself, for `identity` and `properties`."""
    return gather(shell, _IDENTITY)


def identity(answers: Mapping[str, str]) -> dict[str, Reading]:
    """Return what the board is; see `mvdeploy.links` for the names."""
    return {
        "cpu": reading(lambda: processor(answers["cpu"])),
        "cores_physical": UNAVAILABLE,
        "cores_logical": core_count(answers),
        "architecture": reading(lambda: answers["architecture"].strip()),
        "memory_bytes": kilobytes(answers["memory"], "MemTotal"),
        "machine": reading(lambda: answers["machine"].strip("\0 \n")),
        "os": reading(
            lambda: re.findall(r'^PRETTY_NAME="?(.*?)"?$', answers["os"], re.MULTILINE)[0]
        ),
        "kernel": reading(lambda: answers["kernel"].strip()),
        "hypervisor": reading(lambda: hypervisor(answers["cpu"])),
        "boost": UNAVAILABLE,
        "python": "none",
    }


def properties(answers: Mapping[str, str]) -> dict[str, str]:
    """Return what tells boards apart, under Android's names, as profiles use them."""
    board = identity(answers)
    named = {
        "ro.product.model": board["machine"],
        "ro.soc.model": board["cpu"],
        "ro.product.cpu.abi": board["architecture"],
    }
    return {name: str(value) for name, value in named.items() if value != UNAVAILABLE}


def state(shell: Shell) -> DeviceState:
    """Return the condition the board is in; see `mvdeploy.links` for the names."""
    answers = gather(shell, KERNEL | _CONDITION)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    heat: dict[str, Reading] = {
        "temperatures_c": reading(lambda: _temperatures(answers["zones"])),
        "battery_percent": UNAVAILABLE,
        "battery_plugged": UNAVAILABLE,
    }
    capped = reading(lambda: _capped(answers["capped"]))
    if capped != UNAVAILABLE:
        heat["thermal_status"] = capped
    return DeviceState(now, {**kernel_state(answers), **heat})


def _temperatures(zones: str) -> tuple[str, ...]:
    kinds = dict(re.findall(r"/(thermal_zone\d+)/type:(.*)", zones))
    degrees = re.findall(r"/(thermal_zone\d+)/temp:(-?\d+)", zones)
    return tuple(f"{kinds.get(zone, zone)}={int(value) / 1000:g}" for zone, value in degrees)


def _capped(text: str) -> str:
    """Read what a Raspberry Pi says of its firmware's limits: bits 0 to 3 hold now."""
    bits = int(re.findall(r"throttled=0x([0-9a-fA-F]+)", text)[0], 16)
    return "capped" if bits & 0b1111 else "none"
