"""Meters in the files of a Linux kernel, Android's too: RAPL, INA sensors, batteries."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mvdeploy.links.gather import gather
from mvdeploy.links.power import UPTIME, FileMeter, Meter, ShellMeter, Unmetered
from mvdeploy.links.shell import Shell, quote
from mvdeploy.records.energy import Channel, PowerMeter

_RAPL, _HWMON, _SUPPLY = "/sys/class/powercap", "/sys/class/hwmon", "/sys/class/power_supply"

RAPL = tuple(f"{_RAPL}/intel-rapl:*/{n}" for n in ("name", "energy_uj", "max_energy_range_uj"))
"""AMD's processors have it under the same name."""

HWMON = tuple(
    f"{_HWMON}/hwmon*/{name}"
    for name in ("name", "power*_input", "curr*_input", "in*_input", "in*_label", "power*_label")
)
BATTERY = tuple(
    f"{_SUPPLY}/*/{name}"
    for name in ("type", "scope", "status", "online", "current_now", "voltage_now", "power_now")
)

_COUNTER_S, _SENSOR_S, BATTERY_S = 0.1, 0.1, 0.25
"""Seconds between readings."""

_WHOLE = re.compile(r"vdd_in|pom_5v_in|vin|.*sys.*input|total.*", re.IGNORECASE)
"""Labels of sensors of all that a board takes, as on Nvidia's boards."""

_SMALLEST_UA = 10_000
"""No computer that runs takes less than 10 mA from a battery, or as much as 10 A: a smaller number
is no microamperes, but milliamperes."""

_SMALLEST_UV = 100_000
"""The same of a battery's voltage: 0.1 V, and 100 V."""


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a system.

    Attributes:
        texts: what is in them, by path, without spaces at both ends.
        denied: paths of those that may not be read.
    """

    texts: Mapping[str, str]
    denied: frozenset[str] = frozenset()

    def number(self, path: str) -> int | None:
        """Return the number in a file; None when it is not there, or is none."""
        text = self.texts.get(path, "")
        return int(text) if re.fullmatch(r"-?\d{1,19}", text) else None


@dataclasses.dataclass(frozen=True)
class Found:
    """A meter, and the file that says whether its battery is being charged.

    Attributes:
        about: the meter; the names of its channels are paths.
        status: path of that file; empty without a battery.
    """

    about: PowerMeter
    status: str = ""


def local(root: Path, *patterns: str) -> Files:
    """Read files of this machine.

    Args:
        root: where ``sys`` is.
        patterns: of paths.
    """
    texts, denied = {}, set()
    for pattern in patterns:
        for path in sorted(root.glob(pattern.lstrip("/"))):
            name = f"/{path.relative_to(root)}"
            try:
                texts[name] = path.read_text().strip()
            except PermissionError:
                denied.add(name)
            except (OSError, ValueError):
                continue
    return Files(texts, frozenset(denied))


def remote(shell: Shell, *patterns: str) -> Files:
    """Read files of a device.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    listed = " ".join(patterns)
    denied = f'for f in {listed}; do [ -r "$f" ] || [ ! -e "$f" ] || echo "$f"; done'
    questions = {"texts": f"grep -sH . {listed}", "denied": f"sh -c {quote(denied)}"}
    answers = gather(shell, questions)
    texts = re.findall(r"^(/[^\n]*/[\w]+):([^\n]*)$", answers["texts"], re.MULTILINE)
    return Files({path: text.strip() for path, text in texts}, frozenset(answers["denied"].split()))


def of_this_machine(root: Path, sensor: str = "") -> Meter:
    """Return the meter of this machine.

    Args:
        root: where ``sys`` is.
        sensor: label of the sensor of the whole machine.

    Raises:
        Unmetered: there is none that can be used now.
    """
    found = find(local(root, *RAPL, *HWMON, *BATTERY), sensor)
    paths = [root / channel.name.lstrip("/") for channel in found.about.channels]

    def supply() -> str:
        return charging(local(root, found.status).texts.get(found.status, ""))

    return FileMeter(found.about, paths, supply if found.status else lambda: "")


def of_board(shell: Shell, sensor: str = "") -> Meter:
    """Return the meter of a board; see `of_this_machine`.

    Raises:
        Unmetered: there is none that can be used now.
        DeviceUnavailable: the board is gone.
    """
    found = find(remote(shell, *RAPL, *HWMON, *BATTERY), sensor)

    def supply() -> str:
        return charging(remote(shell, found.status).texts.get(found.status, ""))

    return ShellMeter(
        found.about, shell, printing(found.about), supply if found.status else lambda: ""
    )


def printing(about: PowerMeter) -> str:
    """Return the command that prints a reading of a meter in files; see `ShellMeter`."""
    return f"grep -sH . {quote(UPTIME, *(channel.name for channel in about.channels))}"


def find(files: Files, sensor: str = "") -> Found:
    """Find the meter of a system among its files: that which tells most exactly.

    Args:
        files: those of `RAPL`, `HWMON` and `BATTERY`.
        sensor: label of the sensor of the whole system, where there are several.

    Raises:
        Unmetered: there is none that can be used now.
    """
    if (counters := rapl(files)) is not None:
        return Found(counters)
    if (sensors := ina(files, sensor)) is not None:
        return Found(sensors)
    lacking = _denied(files) or Unmetered(
        "Nothing here tells the power that it takes: there is no RAPL counter, INA sensor or "
        "battery.",
        "A virtual machine has none as a rule: measure on the machine itself.",
    )
    cell = battery(files)
    if cell is None:
        raise lacking
    if how := charging(files.texts.get(cell.status, "")):
        if files.denied:
            raise lacking
        raise fed(how)
    return cell


def _denied(files: Files) -> Unmetered | None:
    if not any(path.startswith(_RAPL) for path in files.denied):
        return None
    return Unmetered(
        "The energy counters of the processor (RAPL) may be read by root only.",
        "Allow it until the next start with 'sudo chmod a+r "
        f"{_RAPL}/intel-rapl*/energy_uj', and run again; other users of the machine can then "
        "tell something of what it computes.",
    )


def fed(how: str) -> Unmetered:
    """Word the error for a battery that is being fed, and tells nothing then."""
    return Unmetered(
        f"The device is being fed ({how}): its battery does not tell then what it takes.",
        "Take it off its cable or charger; a phone is reached over the network then, with 'adb "
        "tcpip 5555' and --device ADDRESS:5555.",
    )


def charging(status: str) -> str:
    """Return by what a battery with a kernel's word for its status is fed; empty for nothing."""
    return "" if status == "Discharging" else f"battery: {status.lower() or 'unknown'}"


def rapl(files: Files) -> PowerMeter | None:
    """Return the counters of the processor's packages and of the memory beside them.

    A package holds its cores and its own graphics, which have counters of their own; it does not
    hold the memory. The counter of the whole platform, where there is one, holds all of them.
    """
    channels, named = [], []
    for path in sorted(files.texts, key=_place):
        zone = re.fullmatch(rf"({_RAPL}/intel-rapl:\d+(?::\d+)?)/energy_uj", path)
        name = files.texts.get(f"{zone[1]}/name", "") if zone else ""
        if zone and re.match(r"package|dram", name) and files.number(path) is not None:
            wraps_at = files.number(f"{zone[1]}/max_energy_range_uj") or 0
            channels.append(Channel(path, "energy", 1e-6, max(0, wraps_at)))
            named.append(name)
    if not any(name.startswith("package") for name in named):
        return None
    return PowerMeter(
        f"RAPL ({', '.join(named)})",
        "the processor and its memory" if "dram" in named else "the processor",
        tuple(channels),
        _COUNTER_S,
    )


def _place(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


@dataclasses.dataclass(frozen=True)
class _Sensor:
    label: str
    channels: tuple[Channel, ...]


def ina(files: Files, sensor: str = "") -> PowerMeter | None:
    """Return the sensor of a board's power, as far as it is known which one tells of all of it.

    Args:
        files: of the board.
        sensor: label of that sensor.

    Raises:
        Unmetered: there are several, and some may hold others.
    """
    sensors = list(_sensors(files))
    if not sensors:
        return None
    if sensor:
        fitting = [one for one in sensors if one.label == sensor]
    else:
        fitting = [one for one in sensors if _WHOLE.fullmatch(one.label)] or sensors
    if len(fitting) != 1:
        labels = ", ".join(one.label for one in sensors)
        raise Unmetered(
            f"There is no sensor {sensor} among those of the board: {labels}."
            if sensor
            else f"The board has several power sensors ({labels}), some of which may hold others.",
            "Write power_sensor = 'LABEL' in the profile of the device, for the one that tells the "
            "power of the whole board.",
        )
    return PowerMeter(
        f"sensor {fitting[0].label}", "what that sensor measures", fitting[0].channels, _SENSOR_S
    )


def _sensors(files: Files) -> Iterator[_Sensor]:
    chips = [path.removesuffix("/name") for path in files.texts if _is_ina(files, path)]
    for chip in sorted(chips, key=_place):
        for number in range(1, 5):
            label = files.texts.get(f"{chip}/in{number}_label", "")
            label = files.texts.get(f"{chip}/power{number}_label", label)
            label = label or f"{files.texts[f'{chip}/name']} {chip.rpartition('/')[2]}:{number}"
            power = f"{chip}/power{number}_input"
            current, voltage = f"{chip}/curr{number}_input", f"{chip}/in{number}_input"
            if files.number(power) is not None:
                yield _Sensor(label, (Channel(power, "power", 1e-6),))
            elif files.number(current) is not None and files.number(voltage) is not None:
                pair = Channel(current, "current", 1e-3), Channel(voltage, "voltage", 1e-3)
                yield _Sensor(label, pair)


def _is_ina(files: Files, path: str) -> bool:
    chip = re.fullmatch(rf"{_HWMON}/hwmon\d+/name", path)
    return chip is not None and re.match(r"ina\d", files.texts[path]) is not None


def battery(files: Files) -> Found | None:
    """Return the battery that a system runs on, as a meter.

    Raises:
        Unmetered: it tells a current that cannot be.
    """
    kinds = (path for path in sorted(files.texts) if re.fullmatch(rf"{_SUPPLY}/[^/]+/type", path))
    for kind in kinds:
        home = kind.removesuffix("/type")
        if files.texts[kind] != "Battery" or files.texts.get(f"{home}/scope") == "Device":
            continue
        status = f"{home}/status"
        current, voltage = (files.number(f"{home}/{n}_now") for n in ("current", "voltage"))
        if current is not None and voltage is not None:
            names = f"{home}/current_now", f"{home}/voltage_now"
            return Found(of_battery(names, current, voltage, BATTERY_S), status)
        power = f"{home}/power_now"
        if files.number(power) is not None:
            channels = (Channel(power, "power", 1e-6),)
            return Found(_at_battery(home, channels, BATTERY_S), status)
    return None


def of_battery(names: tuple[str, str], current: int, voltage: int, interval_s: float) -> PowerMeter:
    """Return a battery as a meter; its units are told from the sizes of its numbers.

    Args:
        names: of the channels of current and voltage.
        current: that it told, in µA or mA, of either sign.
        voltage: that it told, in µV or mV.
        interval_s: seconds between readings.

    Raises:
        Unmetered: it tells a current or a voltage of 0.
    """
    for what, number in (("current", current), ("voltage", voltage)):
        if number == 0:
            raise Unmetered(
                f"The battery tells a {what} of 0, which cannot be.",
                "Measure on a device whose battery tells what it gives, or with a meter at its "
                "supply.",
            )
    milli = abs(current) < _SMALLEST_UA
    channels = (
        Channel(names[0], "current", 1e-3 if milli else 1e-6),
        Channel(names[1], "voltage", 1e-3 if abs(voltage) < _SMALLEST_UV else 1e-6),
    )
    assumed = "its current is in mA, as its size says" if milli else ""
    return _at_battery(names[0].rpartition("/")[0], channels, interval_s, assumed)


def _at_battery(
    home: str, channels: tuple[Channel, ...], interval_s: float, assumed: str = ""
) -> PowerMeter:
    return PowerMeter(
        f"battery ({home})" if home else "battery",
        "the whole device, at its battery",
        channels,
        interval_s,
        battery=True,
        assumed=assumed,
    )
