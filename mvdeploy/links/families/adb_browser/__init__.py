"""The link to Chrome on an Android phone at a cable, through the adb program.

The page is served from here and reaches the phone by adb's ``reverse``, as an address of the
phone's own: only such a one, or https, gives it a clock in steps of 5 µs. Chrome is driven by its
DevTools, which adb's ``forward`` brings here. Everything else of the phone is as the link ``adb``
has it. Any phone can be named, by ``chrome@`` and its serial.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from mvdeploy import devices, engines
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import NO_OPTIONS, Attached, Options, Prerequisite
from mvdeploy.links.families import adb, browser
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile

if TYPE_CHECKING:
    from mvdeploy.links.families.adb_browser.link import PhoneBrowserLink

RUNNER = "web"
"""Which program does its jobs; engines say which of them can run them."""

PACKAGE = Option(
    "phone_browser",
    "--phone-browser",
    "Browsers of phones: the app, such as com.brave.browser, if several are open.",
    "PACKAGE",
    variable="MVDEPLOY_PHONE_BROWSER",
)
OPTIONS = (
    *(option for option in adb.OPTIONS if option.name in ("adb", "fixed_performance")),
    browser.NPM,
    PACKAGE,
)

PREFIX = "chrome@"
"""What is typed before a phone's serial to mean the browser on it."""


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> PhoneBrowserLink:
    """Return the link to Chrome on a phone."""
    from mvdeploy.links.families.adb_browser.link import PhoneBrowserLink

    return PhoneBrowserLink(profile, options)


def named(name: str) -> Attached | None:
    """Return the phone that ``chrome@SERIAL`` means; its properties are asked for later."""
    serial = name.removeprefix(PREFIX)
    return Attached(name, "adb_browser", "device", {}) if serial and serial != name else None


def generic(one: Attached, options: Options = NO_OPTIONS) -> DeviceProfile:
    """Return a profile for Chrome on any phone, from what is known of the phone.

    Raises:
        DeviceUnavailable: it is not attached, or not ready.
    """
    serial = one.address.removeprefix(PREFIX)
    phone = adb.reached(serial, options)
    kin = [each for each in devices.profiles().values() if each.link == "adb"]
    known = devices.match(phone.properties, kin) or adb.generic(phone, options)
    able = engines.run_by(RUNNER)
    return dataclasses.replace(
        known,
        name=f"{known.name}-chrome",
        title=f"Chrome on {known.title}",
        link="adb_browser",
        engines=tuple(name for name in able if "onnx" in engines.get(name).FORMATS),
        formats=("onnx",),
        aliases=(),
        match={},
        address=one.address,
        cores=(),
        threads=1,
        screen="on",
        notes="Experimental. Chrome chooses the cores.",
    )


def unready(one: Attached) -> DeviceUnavailable:
    """Word the error for a phone that cannot be used as it is."""
    return adb.unready(one)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure in Chrome on a phone."""
    from mvdeploy.links.families.adb_browser import checking

    return checking.checks(profile, options)


def setup(
    profile: DeviceProfile, options: Options, on_step: Callable[[str], None]
) -> tuple[str, ...]:
    """Have the engines here, as they are served from here; see `browser.setup`."""
    return browser.setup(profile, options, on_step)
