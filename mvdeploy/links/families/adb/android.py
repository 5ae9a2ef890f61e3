"""What an Android phone tells of itself: properties, heat, battery, screen."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping

from mvdeploy.links import kernel
from mvdeploy.links.gather import gather, reading
from mvdeploy.links.kernel import KERNEL, core_count, kernel_state, kilobytes
from mvdeploy.links.shell import Shell
from mvdeploy.records import UNAVAILABLE, DeviceState, Reading

STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's words for its thermal status, by number."""

SKIN = 3
"""Number of the kind of sensor that measures the phone's skin."""

_NONE = {-99.9, 0.0}
"""What sensors say that have nothing to say."""

_PROPERTY = re.compile(r"^\[(.+?)\]: \[(.*?)\]?$")
_SENSOR = re.compile(
    r"Temperature\{mValue=(-?\d{1,3}(?:\.\d*)?), mType=(-?\d{1,9}), mName=([^,\n]*), mStatus="
)
_STATUS = re.compile(r"^\s*Thermal Status: (\d)\s*$", re.MULTILINE)

_EMULATORS = ("ranchu", "goldfish", "cutf_cvm", "vbox86")
"""Hardware of Android's own emulators, old and new, of Cuttlefish and of Genymotion."""

_IDENTITY = {
    "properties": "getprop",
    "cores": KERNEL["cores"],
    "memory": KERNEL["memory"],
    "kernel": "cat /proc/version",
}
_CONDITION = {
    "thermal": "dumpsys thermalservice",
    "battery": "dumpsys battery",
    "power": "dumpsys power | grep mWakefulness=",
}

_FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"


@dataclasses.dataclass(frozen=True)
class Sensor:
    """A temperature.

    Attributes:
        name: of the sensor.
        kind: 0 CPU, 1 GPU, 2 battery, 3 skin, 4 USB; others as Android numbers them.
        degrees: °C.
    """

    name: str
    kind: int
    degrees: float


@dataclasses.dataclass(frozen=True)
class Heat:
    """How hot a phone is.

    Attributes:
        status: 0 (none) to 6 (shutdown), an index of `STATUSES`; None when it does not tell.
        sensors: that told something.
    """

    status: int | None
    sensors: tuple[Sensor, ...]

    @property
    def skin_c(self) -> float | None:
        """The highest temperature of the skin, °C; None when no sensor tells."""
        return max((s.degrees for s in self.sensors if s.kind == SKIN), default=None)


def properties(shell: Shell) -> dict[str, str]:
    """Return the phone's properties, by name."""
    return parse_properties(shell.call("getprop").out)


def parse_properties(text: str) -> dict[str, str]:
    """Read what ``getprop`` prints; a value of several lines is cut to its first."""
    matches = (_PROPERTY.match(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def parse_heat(text: str) -> Heat:
    """Read what ``dumpsys thermalservice`` prints: the sensors as they are, not as they were."""
    status = _STATUS.search(text)
    now = text.partition("Current temperatures from HAL:")[2]
    now = now.partition("Current cooling devices")[0]
    sensors = tuple(
        Sensor(name.strip(), int(kind), float(degrees))
        for degrees, kind, name in _SENSOR.findall(now)
        if float(degrees) not in _NONE
    )
    return Heat(min(int(status[1]), len(STATUSES) - 1) if status else None, sensors)


def heat(shell: Shell) -> Heat:
    """Ask how hot the phone is."""
    return parse_heat(gather(shell, {"thermal": _CONDITION["thermal"]})["thermal"])


def is_emulator(properties: Mapping[str, str]) -> bool:
    """Say whether properties are those of an emulator."""
    flags = ("ro.kernel.qemu", "ro.boot.qemu")
    hardware = properties.get("ro.hardware", "")
    return any(properties.get(flag) == "1" for flag in flags) or hardware in _EMULATORS


def identity(shell: Shell) -> dict[str, Reading]:
    """Return what the phone is; see `mvdeploy.links` for the names."""
    answers = gather(shell, _IDENTITY)
    properties = parse_properties(answers["properties"])

    def joined(*names: str) -> str:
        return " ".join(properties.get(name, "") for name in names).strip()

    chip = joined("ro.soc.manufacturer", "ro.soc.model")
    version = joined("ro.build.version.release")
    return {
        "cpu": reading(lambda: chip or properties.get("ro.board.platform")),
        "cores_physical": core_count(answers),
        "cores_logical": core_count(answers),
        "architecture": reading(lambda: properties.get("ro.product.cpu.abi")),
        "memory_bytes": kilobytes(answers["memory"], "MemTotal"),
        "machine": reading(lambda: joined("ro.product.manufacturer", "ro.product.model")),
        "os": reading(lambda: f"Android {version}" if version else None),
        "build": reading(lambda: properties.get("ro.build.fingerprint")),
        "kernel": reading(lambda: _kernel(answers["kernel"])),
        "hypervisor": reading(
            lambda: ("no", "yes")[is_emulator(properties)] if properties else None
        ),
        "boost": UNAVAILABLE,
        "python": "none",
    }


def _kernel(text: str) -> str:
    """Return name and version, as ``uname -sr`` does, from what /proc/version says."""
    name, version = re.findall(r"^(\S+) version (\S+)", text)[0]
    return f"{name} {version}"


def state(shell: Shell) -> DeviceState:
    """Return the condition the phone is in; see `mvdeploy.links` for the names."""
    answers = gather(shell, KERNEL | _CONDITION)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    return DeviceState(now, {**kernel_state(answers), **condition(answers)})


def condition(answers: Mapping[str, str]) -> dict[str, Reading]:
    """Read heat, battery and screen."""
    heat, battery = parse_heat(answers["thermal"]), answers["battery"]
    powered = re.findall(r"^\s*\w+ powered: (true|false)", battery, re.MULTILINE)
    return {
        "thermal_status": reading(lambda: _word(heat.status)),
        "temperatures_c": reading(lambda: tuple(f"{s.name}={s.degrees:g}" for s in heat.sensors)),
        "skin_c": reading(lambda: heat.skin_c),
        "battery_percent": reading(lambda: int(_entry(battery, "level"))),
        "battery_c": reading(lambda: int(_entry(battery, "temperature")) / 10),
        "battery_plugged": reading(lambda: ("no", "yes")["true" in powered] if powered else None),
        "screen": reading(lambda: _entry(answers["power"], "mWakefulness", "=").lower()),
    }


def _word(status: int | None) -> str | None:
    return None if status is None else STATUSES[status]


def _entry(text: str, key: str, sign: str = ":") -> str:
    entry = re.search(rf"^\s*{key}{sign}[ \t]*(\S+)", text, re.MULTILINE)
    if entry is None:
        raise LookupError(key)
    return entry[1]


def highest_clocks(shell: Shell) -> dict[int, int]:
    """Return the highest clock of each core that tells it, kHz, by the core's number."""
    return kernel.highest_clocks(gather(shell, {"clocks": KERNEL["clocks"]})["clocks"])


def set_fixed_performance(shell: Shell, on: bool) -> bool:
    """Ask for clocks that do not change, or give them up; say whether the phone agreed."""
    answer = shell.call(f"{_FIXED_PERFORMANCE} {'true' if on else 'false'}")
    words = (answer.out + answer.error).lower()
    refusals = ("fail", "unknown", "denied", "error")
    return answer.status == 0 and not any(refusal in words for refusal in refusals)
