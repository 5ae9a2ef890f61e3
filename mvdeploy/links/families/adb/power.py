"""The power that an Android phone takes, as its battery tells it."""

from __future__ import annotations

import re

from mvdeploy.links import sysfs_power
from mvdeploy.links.families.adb import android
from mvdeploy.links.gather import gather
from mvdeploy.links.power import Meter, ShellMeter, Unmetered
from mvdeploy.links.shell import Shell

_QUESTIONS = {"battery": "dumpsys battery", "current": "cmd battery get -f current_now"}
"""The second is known to newer phones only; in µA, where files may not be read."""

_ASKED_S = 1.0
"""Seconds between readings that two programs have to be started for."""

_CURRENT, _VOLTAGE = "current_now", "voltage"
_PRINTED = (
    f'echo "{_CURRENT}:$(cmd battery get -f current_now)"; '
    f"dumpsys battery | grep '^  {_VOLTAGE}: ' | tr -d ' '"
)


def meter(shell: Shell) -> Meter:
    """Return the battery of a phone as its meter.

    Raises:
        Unmetered: it is being charged, or tells nothing.
        DeviceUnavailable: the phone is gone.
    """
    answers = gather(shell, _QUESTIONS)
    if how := supply(answers["battery"]):
        raise sysfs_power.fed(how)

    def fed() -> str:
        return supply(gather(shell, {"battery": _QUESTIONS["battery"]})["battery"])

    found = sysfs_power.battery(sysfs_power.remote(shell, *sysfs_power.BATTERY))
    if found is not None:
        return ShellMeter(found.about, shell, sysfs_power.printing(found.about), fed)
    current = re.fullmatch(r"\s*(-?\d{1,12})\s*", answers["current"])
    voltage = re.search(rf"^\s*{_VOLTAGE}: (\d{{1,9}})\s*$", answers["battery"], re.MULTILINE)
    if current is None or voltage is None:
        raise Unmetered(
            "The phone does not let programs at adb read the current of its battery.",
            "Measure on a phone that tells it, such as one with Android 15 or newer or with root, "
            "or with a meter at its supply.",
        )
    about = sysfs_power.of_battery((_CURRENT, _VOLTAGE), int(current[1]), int(voltage[1]), _ASKED_S)
    return ShellMeter(about, shell, _PRINTED, fed)


def supply(text: str) -> str:
    """Return by what a phone is fed, from what ``dumpsys battery`` prints; empty for nothing.

    Raises:
        Unmetered: what it prints was set by hand.
    """
    if android.battery_by_hand(text):
        raise Unmetered(
            "What the phone tells of its battery was set by hand.",
            "Give it back with 'adb shell dumpsys battery reset', and measure again.",
        )
    powered = re.findall(r"^\s*(\w+) powered: (true|false)\s*$", text, re.MULTILINE)
    if not powered:
        return "unknown"
    sources = [name for name, on in powered if on == "true"]
    if re.search(r"^\s*status: 2\s*$", text, re.MULTILINE) and not sources:
        sources = ["charging"]
    return ", ".join(sources)
