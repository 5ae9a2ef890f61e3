"""What an Android phone tells of itself: properties, heat, battery, screen."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping

from mvdeploy.links import kernel
from mvdeploy.links.gather import bounded, gather, reading, was_killed
from mvdeploy.links.kernel import KERNEL, core_count, kernel_state, kilobytes
from mvdeploy.links.shell import Shell, last_line, quote
from mvdeploy.records import UNAVAILABLE, DeviceState, Reading

STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's words for its thermal status, by number."""

BATTERY, SKIN = 2, 3
"""Numbers of the kinds of sensors that measure the battery and the phone's skin."""

_NONE = {-99.9, 0.0}
"""What sensors say that have nothing to say."""

_NO_TEMPERATURES = range(6, 9)
"""Kinds of sensors that measure voltage, current and percent; those below 0 give differences."""

_POSSIBLE_C = (-40.0, 125.0)
"""Between these a phone works, °C."""

_HOTTEST_SKIN_C = 90.0
"""No phone's skin is hotter, °C."""

_PROPERTY = re.compile(r"^\[(.+?)\]: \[(.*?)\]?$")
_SENSOR = re.compile(
    r"Temperature\{mValue=(-?\d{1,9}(?:\.\d{0,9})?), mType=(-?\d{1,9}), mName=([^,\n]*), "
    r"mStatus=(\d?)"
)
_STATUS = re.compile(r"^\s*Thermal Status: (\d)\s*$", re.MULTILINE)
_STATUS_BY_HAND = re.compile(r"^\s*IsStatusOverride: true\s*$", re.MULTILINE)
_BATTERY_BY_HAND = re.compile(r"^\s*\(UPDATES STOPPED", re.MULTILINE)

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

BOOST = "MaxPerformance"
"""Android's task profile for what is to be as fast as can be."""

_BOOST = f"settaskprofile $$ {BOOST} >/dev/null 2>&1"
_PROGRAM = "settaskprofile"

_CONTROLLERS = ("cpuset", "cpu", "schedtune")
"""What decides on which cores a process runs, and how fast these are for it."""

_GROUPS = "printf 'cpuset=%s\\n' \"$(cat /proc/self/cpuset)\"; cat /proc/self/cgroup"

_FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"


@dataclasses.dataclass(frozen=True)
class Sensor:
    """A temperature.

    Attributes:
        name: of the sensor.
        kind: 0 CPU, 1 GPU, 2 battery, 3 skin, 4 USB; others as Android numbers them.
        degrees: °C.
        status: how hot that is for this sensor, as the phone's status.
    """

    name: str
    kind: int
    degrees: float
    status: int = 0

    @property
    def is_possible(self) -> bool:
        """Whether something of this kind can have that temperature."""
        lowest, highest = _POSSIBLE_C
        return lowest <= self.degrees <= (_HOTTEST_SKIN_C if self.kind == SKIN else highest)

    def __str__(self) -> str:
        return f"{self.name}={self.degrees:g}"


@dataclasses.dataclass(frozen=True)
class Heat:
    """How hot a phone is.

    Attributes:
        status: 0 (none) to 6 (shutdown), an index of `STATUSES`; None when it does not tell, or
            tells one that was set by hand or rests on impossible temperatures alone.
        sensors: that told something.
        impossible: sensors that told what cannot be.
        by_hand: whether the status was set by hand.
    """

    status: int | None
    sensors: tuple[Sensor, ...]
    impossible: tuple[Sensor, ...] = ()
    by_hand: bool = False

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
    by_hand = _STATUS_BY_HAND.search(text) is not None
    now = text.partition("Current temperatures from HAL:")[2]
    now = now.partition("Current cooling devices")[0]
    told = [
        Sensor(name.strip(), int(kind), float(degrees), int(status or 0))
        for degrees, kind, name, status in _SENSOR.findall(now)
        if float(degrees) not in _NONE and int(kind) >= 0 and int(kind) not in _NO_TEMPERATURES
    ]
    sensors = tuple(sensor for sensor in told if sensor.is_possible)
    impossible = tuple(sensor for sensor in told if not sensor.is_possible)
    status = None if by_hand else _believed_status(text, sensors, impossible)
    return Heat(status, sensors, impossible, by_hand)


def _believed_status(
    text: str, sensors: tuple[Sensor, ...], impossible: tuple[Sensor, ...]
) -> int | None:
    """Return the phone's status, unless only sensors that tell what cannot be account for it."""
    found = _STATUS.search(text)
    if found is None:
        return None
    status = int(found[1])

    def account(some: tuple[Sensor, ...]) -> bool:
        return any(sensor.status >= status for sensor in some)

    if status and account(impossible) and not account(sensors):
        return None
    return min(status, len(STATUSES) - 1)


def battery_by_hand(text: str) -> bool:
    """Say whether what ``dumpsys battery`` prints was set by hand."""
    return _BATTERY_BY_HAND.search(text) is not None


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


@dataclasses.dataclass(frozen=True)
class Way:
    """How what is measured is run.

    Attributes:
        fixed_performance: whether mvdeploy has switched that mode on: ``on`` or ``off``.
        boosted: it is started with the task profile `BOOST`.
    """

    fixed_performance: str = "off"
    boosted: bool = False

    @property
    def starting(self) -> str:
        """Commands that come before the program, in the shell that becomes it."""
        return f"{{ {_BOOST} || true; }}" if self.boosted else "true"


@dataclasses.dataclass(frozen=True)
class Condition:
    """The condition that a phone is in.

    Attributes:
        state: see `mvdeploy.links` for the names.
        heat: how hot it is.
        battery_by_hand: whether what it tells of its battery was set by hand.
    """

    state: DeviceState
    heat: Heat
    battery_by_hand: bool


def look(shell: Shell, way: Way | None = None) -> Condition:
    """Ask what condition the phone is in.

    Args:
        shell: of the phone.
        way: how what is measured is run.
    """
    way = way or Way()
    groups = {"groups": f"sh -c {quote(f'{way.starting}; {_GROUPS}')}"}
    answers = gather(shell, KERNEL | _CONDITION | groups)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    run: dict[str, Reading] = {
        "fixed_performance": way.fixed_performance,
        "task_profile": BOOST if way.boosted else "none",
        "scheduling_groups": reading(lambda: scheduling_groups(answers["groups"])),
    }
    state = DeviceState(now, {**kernel_state(answers), **condition(answers), **run})
    return Condition(state, parse_heat(answers["thermal"]), battery_by_hand(answers["battery"]))


def scheduling_groups(text: str) -> tuple[str, ...]:
    """Read what a process says of its groups: ``controller=group`` for those of scheduling.

    Args:
        text: what is in its ``cpuset`` and its ``cgroup`` in /proc.
    """
    found = dict(re.findall(r"^(cpuset)=(/.*)$", text, re.MULTILINE))
    for controllers, group in re.findall(r"^\d+:([\w,]+):(/.*)$", text, re.MULTILINE):
        found |= {name: group for name in controllers.split(",") if name in _CONTROLLERS}
    return tuple(f"{name}={found[name].strip()}" for name in _CONTROLLERS if name in found)


def condition(answers: Mapping[str, str]) -> dict[str, Reading]:
    """Read heat, battery and screen; what was set by hand is unavailable."""
    heat = parse_heat(answers["thermal"])
    battery = "" if battery_by_hand(answers["battery"]) else answers["battery"]
    powered = re.findall(r"^\s*\w+ powered: (true|false)", battery, re.MULTILINE)
    return {
        "thermal_status": reading(lambda: _word(heat.status)),
        "temperatures_c": reading(lambda: tuple(map(str, heat.sensors))),
        "skin_c": reading(lambda: heat.skin_c),
        "battery_percent": reading(lambda: int(_entry(battery, "level"))),
        "battery_c": reading(lambda: _battery_c(battery)),
        "battery_plugged": reading(lambda: ("no", "yes")["true" in powered] if powered else None),
        "screen": reading(lambda: _entry(answers["power"], "mWakefulness", "=").lower()),
    }


AWAKE = "awake"
"""What Android calls a screen that is on."""


def _battery_c(text: str) -> float | None:
    sensor = Sensor("battery", BATTERY, int(_entry(text, "temperature")) / 10)
    return sensor.degrees if sensor.is_possible else None


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


def set_fixed_performance(shell: Shell, on: bool) -> bool | None:
    """Ask for clocks that do not change, or give them up.

    Returns:
        whether the phone agreed; None when it did not answer in time, and may yet obey.
    """
    answer = shell.call(bounded(f"{_FIXED_PERFORMANCE} {'true' if on else 'false'}"))
    if was_killed(answer):
        return None
    words = (answer.out + answer.error).lower()
    refusals = ("fail", "unknown", "denied", "error")
    return answer.status == 0 and not any(refusal in words for refusal in refusals)


def has_started(shell: Shell) -> bool:
    """Say whether Android has come up after a restart: commands fail before."""
    return shell.call("getprop sys.boot_completed").out.strip() == "1"


def is_awake(shell: Shell) -> bool | None:
    """Say whether the screen is on; None when the phone does not tell."""
    answers = gather(shell, {"power": _CONDITION["power"]})
    told = reading(lambda: _entry(answers["power"], "mWakefulness", "=").lower())
    return None if told == UNAVAILABLE else told == AWAKE


def set_screen(shell: Shell, *, on: bool) -> bool:
    """Switch the screen on or off, as its key does, and say whether it is."""
    shell.call(bounded(f"input keyevent KEYCODE_{'WAKEUP' if on else 'SLEEP'}"))
    return is_awake(shell) is on


def refusal_of_boost(shell: Shell) -> str:
    """Try the task profile `BOOST` on a process that ends at once.

    Returns:
        why it cannot be had, as a clause; empty when it can.
    """
    answer = shell.call(
        f"command -v {_PROGRAM} >/dev/null || exit 127; "
        + bounded(f"sh -c {quote(f'{_PROGRAM} $$ {BOOST}')}")
    )
    if answer.status == 127:
        return f"the system has no program {_PROGRAM}"
    if was_killed(answer):
        return f"{_PROGRAM} does not answer"
    said = last_line(answer.error or answer.out)
    if answer.status != 0 or "fail" in said.lower():
        return f"{_PROGRAM} says: {said or f'exit status {answer.status}'}"
    return ""
