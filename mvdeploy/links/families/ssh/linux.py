"""What a Linux board tells of itself through its shell."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from mvdeploy.links.gather import (
    KERNEL,
    core_count,
    gather,
    kernel_state,
    kilobytes,
    reading,
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
}
_CONDITION = {
    "zones": "grep -H . /sys/class/thermal/thermal_zone[0-9]*/type "
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "capped": "vcgencmd get_throttled",
}


def answers(shell: Shell) -> dict[str, str]:
    """Return what the board says of itself, for `identity` and `properties`."""
    return gather(shell, _IDENTITY)


def identity(told: Mapping[str, str]) -> dict[str, Reading]:
    """Return what the board is; see `mvdeploy.links` for the names."""
    return {
        "cpu": reading(lambda: _cpu(told["cpu"])),
        "cores_physical": UNAVAILABLE,
        "cores_logical": core_count(told),
        "architecture": reading(lambda: told["architecture"].strip()),
        "memory_bytes": kilobytes(told["memory"], "MemTotal"),
        "machine": reading(lambda: told["machine"].strip("\0 \n")),
        "os": reading(lambda: re.findall(r'^PRETTY_NAME="?(.*?)"?$', told["os"], re.MULTILINE)[0]),
        "kernel": reading(lambda: told["kernel"].strip()),
        "hypervisor": reading(lambda: _hypervisor(told["cpu"])),
        "boost": UNAVAILABLE,
        "python": "none",
    }


def properties(told: Mapping[str, str]) -> dict[str, str]:
    """Return what tells boards apart, under Android's names, as profiles use them."""
    said = identity(told)
    named = {
        "ro.product.model": said["machine"],
        "ro.soc.model": said["cpu"],
        "ro.product.cpu.abi": said["architecture"],
    }
    return {name: str(value) for name, value in named.items() if value != UNAVAILABLE}


def state(shell: Shell) -> DeviceState:
    """Return the condition the board is in; see `mvdeploy.links` for the names."""
    told = gather(shell, KERNEL | _CONDITION)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    heat: dict[str, Reading] = {
        "temperatures_c": reading(lambda: _temperatures(told["zones"])),
        "battery_percent": UNAVAILABLE,
        "battery_plugged": UNAVAILABLE,
    }
    capped = reading(lambda: _capped(told["capped"]))
    if capped != UNAVAILABLE:
        heat["thermal_status"] = capped
    return DeviceState(now, {**kernel_state(told), **heat})


def _cpu(text: str) -> str | None:
    pairs = (line.partition(":") for line in reversed(text.splitlines()))
    fields = {key.strip(): value.strip() for key, _, value in pairs if value}
    if "model name" in fields:
        return fields["model name"]
    if {"CPU implementer", "CPU part"} <= fields.keys():
        return f"implementer {fields['CPU implementer']}, part {fields['CPU part']}"
    return None


def _hypervisor(text: str) -> str | None:
    flags = re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return ("yes" if "hypervisor" in flags[0].split() else "no") if flags else None


def _temperatures(zones: str) -> tuple[str, ...]:
    kinds = dict(re.findall(r"/(thermal_zone\d+)/type:(.*)", zones))
    degrees = re.findall(r"/(thermal_zone\d+)/temp:(-?\d+)", zones)
    return tuple(f"{kinds.get(zone, zone)}={int(value) / 1000:g}" for zone, value in degrees)


def _capped(text: str) -> str:
    """Read what a Raspberry Pi says of its firmware's limits: bits 0 to 3 hold now."""
    bits = int(re.findall(r"throttled=0x([0-9a-fA-F]+)", text)[0], 16)
    return "capped" if bits & 0b1111 else "none"
