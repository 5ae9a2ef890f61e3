"""The link to an Android phone at a cable, or in the network, through the adb program."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable

from mvdeploy import devices
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links import (
    NO_OPTIONS,
    Attached,
    Cleaned,
    Options,
    Prerequisite,
    Setting,
    cleaning,
    leftovers,
    native_choice,
    remote,
    remote_doctor,
)
from mvdeploy.links.families.adb import android, messages, power
from mvdeploy.links.families.adb.android import Heat
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.gather import bounded
from mvdeploy.links.power import Meter
from mvdeploy.links.remote import RemoteLink
from mvdeploy.links.remote_doctor import Step
from mvdeploy.links.shell import Shell, quote
from mvdeploy.plugins import Option
from mvdeploy.records import UNAVAILABLE, DeviceProfile, DeviceState, Level, Reading

_BOTH = "both"
_WISHES = ("on", "off", _BOTH)
_FIXED, _FREE = Setting("fixed", "fixed performance"), Setting("free", "as apps run")

RUNNER = "native"
"""Which program does its jobs; engines say which of them can run them."""

OPTIONS = (
    Option("adb", "--adb", "Android: the adb program.", "FILE", variable="MVDEPLOY_ADB"),
    Option(
        "fixed_performance",
        "--fixed-performance",
        "Android: measure in the mode that holds clocks low but steady, as apps run, or in turns.",
        choices=_WISHES,
        variable="MVDEPLOY_FIXED_PERFORMANCE",
    ),
    Option(
        "boost",
        "--boost",
        f"Android 13 and newer: start the runner with the task profile {android.BOOST}.",
        variable="MVDEPLOY_BOOST",
    ),
    *remote.OPTIONS,
)

_ABIS = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
_LOG_S = 20.0
"""Seconds for the phone's log, after which it is read as far as it came."""

_NETWORK = re.compile(r":|\._adb(-tls-connect)?\._tcp")
"""What serials have that adb makes of an address, or of what a phone says in the network."""


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> AdbLink:
    """Return the link to an Android phone."""
    return AdbLink(profile, options)


def attached(options: Options = NO_OPTIONS) -> tuple[Attached, ...]:
    """Return the phones that adb knows; none when there is no adb."""
    try:
        adb = _adb(options)
    except DeviceUnavailable:
        return ()
    with adb:
        return tuple(_attached(adb, phone.serial, phone.state) for phone in adb.devices())


def _attached(adb: Adb, serial: str, state: str) -> Attached:
    properties = android.properties(AdbShell(adb, serial)) if state == "device" else {}
    return Attached(serial, "adb", state, properties)


def reached(address: str, options: Options = NO_OPTIONS) -> Attached:
    """Return the phone with a serial, or at an address in the network.

    Raises:
        DeviceUnavailable: it is not there, or not ready.
    """
    with _adb(options) as adb:
        serial = adb.connect(address) if ":" in address else adb.ready(address).serial
        return _attached(adb, serial, "device")


def generic(one: Attached, options: Options = NO_OPTIONS) -> DeviceProfile:
    """Return a profile for a phone that none is known for."""
    with _adb(options) as adb:
        clocks = android.highest_clocks(AdbShell(adb, one.address))
    return devices.generic("adb", one.address, one.properties, clocks, *native_choice())


def unready(one: Attached) -> DeviceUnavailable:
    """Word the error for a phone that cannot be used as it is."""
    return messages.not_ready(f"Device {one.address}", one.state)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure on an Android phone."""

    def program() -> str:
        return _adb(options).program

    def server() -> str:
        with _adb(options) as adb:
            return f"answers; attached: {messages.listed(adb.devices()) or 'nothing'}"

    return remote_doctor.checks(
        AdbLink(profile, options),
        (
            Step("adb", program),
            Step("adb server", server),
        ),
    )


def clean(profile: DeviceProfile, options: Options, force: bool) -> Cleaned:
    """Remove everything of mvdeploy from an Android phone."""
    return cleaning.clean(AdbLink(profile, options), force)


def _wants_mode(profile: DeviceProfile, options: Options) -> bool:
    """Say whether fixed-performance mode is to be on.

    Raises:
        UsageError: the environment says something else than it may.
    """
    wish = options.get("fixed_performance")
    if wish not in (None, *_WISHES):
        raise UsageError(
            f"Fixed-performance mode cannot be '{wish}'.",
            "Set MVDEPLOY_FIXED_PERFORMANCE to on, off or both, or give --fixed-performance.",
        )
    return profile.fixed_performance if wish is None else wish == "on"


def _adb(options: Options) -> Adb:
    return Adb(options.get("adb"))


class AdbLink(RemoteLink):
    """A link to one Android phone.

    Args:
        profile: of the phone; its address, or its properties, say which of several it is.
        options: of links.
        sleep: waits for some seconds.
    """

    prefix = ""
    """What is typed before a serial to mean this link to the phone."""

    def __init__(
        self,
        profile: DeviceProfile,
        options: Options = NO_OPTIONS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(profile, options)
        self._sleep = sleep
        self._adb: Adb | None = None
        self._serial = ""
        self._properties: dict[str, str] = {}
        self._wants_mode = _wants_mode(profile, options)
        self._way = android.Way()
        self._screen_was: bool | None = None
        self._begins_at_once = False
        self._mode_has_ended = False

    def _reach(self) -> Shell:
        adb = _adb(self._options)
        adb.open()
        self._adb = adb
        self._serial = self._find(adb)
        shell = AdbShell(adb, self._serial, self.profile.title)
        self._properties = android.properties(shell)
        self.emulated = android.is_emulator(self._properties)
        return shell

    def lock_key(self) -> str:
        """Return the phone's serial number, as adb has it at a cable; see `Link.lock_key`."""
        in_network = _NETWORK.search(self._serial) is not None and not self.emulated
        own = self._properties.get("ro.serialno") if in_network else None
        return f"adb {own or self._serial}"

    def _find(self, adb: Adb) -> str:
        """Return the serial of the phone that the profile means."""
        address = self.profile.address.removeprefix(self.prefix)
        if ":" in address:
            return adb.connect(address)
        if address:
            return adb.ready(address).serial
        attached = adb.devices()
        serials = [phone.serial for phone in attached if phone.state == "device"]
        if not serials:
            return adb.ready().serial  # says what is wrong with what there is
        phones = {serial: android.properties(AdbShell(adb, serial)) for serial in serials}
        fitting = [s for s, properties in phones.items() if devices.fits(self.profile, properties)]
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(f"{s} ({p.get('ro.product.model', '?')})" for s, p in phones.items())
        if not fitting:
            # What does not answer cannot say what it is: that may well be the one.
            silent = [phone for phone in attached if phone.serial not in serials]
            remedy = messages.none_ready(silent).remedy if silent else "Attach it."
            others = f"; {messages.listed(silent)} cannot be asked" if silent else ""
            raise DeviceUnavailable(
                f"None of the attached phones is a {self.profile.title}: {listed}{others}.",
                f"{remedy} Or give a serial with --device, such as --device "
                f"{quote(self.prefix + serials[0])}.",
            )
        raise DeviceUnavailable(
            f"More than one {self.profile.title} is attached: {', '.join(fitting)}.",
            f"Give one of the serials with --device, such as --device "
            f"{quote(self.prefix + fitting[0])}.",
        )

    def architecture(self) -> str:
        """Return what the phone's programs have to be built for; see `RemoteLink`."""
        abi = self._properties.get("ro.product.cpu.abi", "unknown")
        if abi not in _ABIS:
            raise DeviceUnavailable(
                f"{self.shell.name} runs programs for {abi}, which there is no runner for.",
                f"Use a phone with one of {', '.join(_ABIS)}.",
            )
        return _ABIS[abi]

    def _prepare(self) -> None:
        self._way = android.Way(UNAVAILABLE if self._others_have_mode else "off")
        if self._wants_mode or self.settings():
            self._enter_mode()
        if self.settings() and self._way.fixed_performance != "on":
            raise DeviceUnavailable(
                f"{self.shell.name} does not enter its fixed-performance mode, so that there are "
                "no two ways to measure.",
                f"Leave '--fixed-performance {_BOTH}' out.",
            )
        if "boost" in self._options:
            self._boost()

    def settings(self) -> tuple[Setting, ...]:
        """Return both ways to measure where both are asked for; see `Link.settings`."""
        return (_FIXED, _FREE) if self._options.get("fixed_performance") == _BOTH else ()

    def take(self, setting: str) -> None:
        """Switch fixed-performance mode on or off; see `Link.take`."""
        if setting == _FIXED.name and not self._mode_is_on:
            self._enter_mode()
        elif setting == _FREE.name and self._mode_is_on:
            self._end_mode()
            left = UNAVAILABLE if self._mode_is_on or self._others_have_mode else "off"
            self._way = dataclasses.replace(self._way, fixed_performance=left)

    def again(self) -> None:
        """Reach the phone again; the mode that a restart has ended is switched on anew.

        Raises:
            DeviceUnavailable: it is still gone, or still starting.
        """
        super().again()
        if not self._mode_is_on:
            return
        # Until it is set: once it has been marked, the mark says nothing any more.
        self._mode_has_ended = self._mode_has_ended or self.session.mode_may_have_ended()
        if not self._mode_has_ended:
            return
        if not android.has_started(self.shell):
            raise DeviceUnavailable(
                f"{self.shell.name} has not finished starting.", "Wait until it has."
            )
        self.session.mark_mode(on=True)
        agreed = android.set_fixed_performance(self.shell, on=True)
        self._mode_has_ended = False
        told = {True: "on", False: "off", None: UNAVAILABLE}[agreed]
        self._way = dataclasses.replace(self._way, fixed_performance=told)
        if agreed is False:
            self._forget_mode()
        if not agreed:
            self.found("mode_lost", Level.WARNING, device=self.shell.name)

    def _enter_mode(self) -> None:
        # Before it is asked: a phone whose answer is lost may have obeyed.
        self._mode_is_on = True
        self.session.mark_mode(on=True)
        agreed = android.set_fixed_performance(self.shell, on=True)
        if agreed is False:
            self._forget_mode()
        if not agreed:
            self.found("no_fixed_performance", Level.NOTE)
        elif not self.settings():  # or else the names of the cases say it
            self.found("fixed_performance", Level.NOTE)
        told = {True: "on", False: "off", None: UNAVAILABLE}[agreed]
        self._way = dataclasses.replace(self._way, fixed_performance=told)

    def _boost(self) -> None:
        reason = android.refusal_of_boost(self.shell)
        if reason:
            self.found("no_boost", Level.WARNING, profile=android.BOOST, reason=reason)
        else:
            self.found("boost", Level.NOTE, profile=android.BOOST)
            self._way = dataclasses.replace(self._way, boosted=True)

    def _starting(self) -> str:
        return self._way.starting

    def _restore(self) -> None:
        self._end_mode()
        if self._screen_was is not None:
            android.set_screen(self.shell, on=self._screen_was)
            self._screen_was = None

    def _end_mode(self) -> None:
        if not self._mode_is_on:
            return
        left = leftovers.look(self.shell, self.home)
        # Another run that has it on switches it off when it ends.
        if any(map(left.has_mode, left.others)) or self.leave_mode():
            self._forget_mode()
        else:
            self.found("mode_left_on", Level.WARNING, device=self.shell.name)

    def _forget_mode(self) -> None:
        self._mode_is_on = False
        self.session.mark_mode(on=False)

    def leave_mode(self) -> bool:
        """Switch fixed-performance mode off; see `RemoteLink`."""
        return bool(android.set_fixed_performance(self.shell, on=False))

    def identity(self) -> dict[str, Reading]:
        """Return what the phone is."""
        return android.identity(self.shell)

    def state(self) -> DeviceState:
        """Return the condition the phone is in now."""
        condition = android.look(self.shell, self._way)
        state = condition.state
        self._doubt(condition.heat)
        if condition.battery_by_hand:
            self.found("battery_by_hand", Level.WARNING)
        if state.readings["battery_plugged"] == "yes":
            self.found("charging", Level.NOTE)
        awake = state.readings["screen"] == android.AWAKE
        if awake and self.profile.screen != "on":
            self.found("screen_on", Level.NOTE)
        sleeps = state.readings["battery_plugged"] == "no" and _NETWORK.search(self._serial)
        if sleeps and not awake and state.readings["screen"] != UNAVAILABLE:
            self.found("may_sleep", Level.WARNING)
        return state

    def meter(self) -> Meter:
        """Return the phone's battery as its meter; see `Link.meter`."""
        return power.meter(self.shell)

    def _doubt(self, heat: Heat) -> None:
        """Note what the phone tells of its heat and is not believed."""
        if heat.by_hand:
            self.found("heat_by_hand", Level.WARNING)
        if heat.impossible:
            sensors = ", ".join(f"{sensor} °C" for sensor in heat.impossible)
            self.found("impossible_heat", Level.WARNING, sensors=sensors)

    def _rejoin(self) -> None:
        if self._adb is not None and ":" in self._serial:
            self._adb.connect(self._serial)
        self._check_same()
        self._begins_at_once = True

    def _ready(self) -> None:
        self._check_same()
        at_once, self._begins_at_once = self._begins_at_once, False
        if not at_once:
            self._cool_down()
        self._keep_screen()

    def _keep_screen(self) -> None:
        """Have the screen on or off, as the profile says; what is on goes off by itself."""
        wanted = self.profile.screen
        awake = android.is_awake(self.shell) if wanted else None
        if awake is None or awake is (wanted == "on"):
            return
        if self._screen_was is None:
            self._screen_was = awake
        if not android.set_screen(self.shell, on=not awake):
            self.found("screen_not_set", Level.WARNING, wanted=wanted)

    def _log_mark(self) -> str:
        return self.shell.call("date '+%m-%d %H:%M:%S.000'").out.strip()

    def _logged(self, mark: str) -> str:
        words = f"logcat -d -v raw -s ExecuTorch -T {quote(mark)} 2>/dev/null"
        return self.shell.call(bounded(words, _LOG_S)).out

    def _check_same(self) -> None:
        """Make sure that the same phone answers as at first."""
        now = android.properties(self.shell)
        for name in ("ro.serialno", "ro.product.model", "ro.build.fingerprint"):
            was, is_now = self._properties.get(name), now.get(name)
            if was != is_now:
                raise DeviceUnavailable(
                    f"Another phone answers than before: its {name} is {is_now}, not {was}.",
                    "Attach the phone that was measured first, and run again.",
                )

    def _cool_down(self) -> None:
        """Wait until the phone is as cool as its profile asks for, or the time is up."""
        demand, waited = self.profile.cool_down, 0.0
        heat = android.heat(self.shell)
        while not self._is_cool(heat) and waited < demand.limit_s:
            self._sleep(demand.poll_s)
            waited += demand.poll_s
            heat = android.heat(self.shell)
        self._doubt(heat)
        if not self._is_cool(heat):
            status = android.STATUSES[heat.status] if heat.status is not None else "unknown"
            skin = "unknown" if heat.skin_c is None else f"{heat.skin_c:g} °C"
            self.found("hot", Level.ERROR, status=status, skin=skin, waited_s=waited)
        elif waited:
            self.found("cooled_down", Level.NOTE, waited_s=waited)

    def _is_cool(self, heat: Heat) -> bool:
        demand = self.profile.cool_down
        status_ok = heat.status is None or heat.status <= demand.thermal_status
        return status_ok and (heat.skin_c is None or heat.skin_c <= demand.skin_c)

    def _part(self) -> None:
        adb, self._adb = self._adb, None
        if adb is not None:
            adb.close()
