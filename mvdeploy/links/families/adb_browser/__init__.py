"""The link to Chrome on an Android phone at a cable, through the adb program.

The page is served from here and reaches the phone by adb's ``reverse``, as an address of the
phone's own: only such a one, or https, gives it a clock in steps of 5 µs. Chrome is driven by its
DevTools, which adb's ``forward`` brings here. Everything else of the phone is as the link ``adb``
has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mvdeploy.links import NO_OPTIONS, Options, Prerequisite
from mvdeploy.links.families import adb, browser
from mvdeploy.records import DeviceProfile

if TYPE_CHECKING:
    from mvdeploy.links.families.adb_browser.link import PhoneBrowserLink

RUNNER = "web"
"""Which program does its jobs; engines say which of them can run them."""

OPTIONS = (
    *(option for option in adb.OPTIONS if option.name in ("adb", "fixed_performance")),
    browser.NPM,
)


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> PhoneBrowserLink:
    """Return the link to Chrome on a phone."""
    from mvdeploy.links.families.adb_browser.link import PhoneBrowserLink

    return PhoneBrowserLink(profile, options)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure in Chrome on a phone."""
    from mvdeploy.links.families.adb_browser import checking

    return checking.checks(profile, options)


def setup(
    profile: DeviceProfile, options: Options, on_step: Callable[[str], None]
) -> tuple[str, ...]:
    """Have the engines here, as they are served from here; see `browser.setup`."""
    return browser.setup(profile, options, on_step)
