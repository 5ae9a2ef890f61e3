"""The link to a browser on this machine: each job is done in a page of a fresh, headless one.

The engines are files of npm packages, which the page is served from here (`mvdeploy.kits.web`). The
identity has ``browser`` (name and version) beside what this machine is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import engines
from mvdeploy.errors import MvdeployError
from mvdeploy.links import NO_OPTIONS, Options, Prerequisite
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile

if TYPE_CHECKING:
    from mvdeploy.links.families.browser.link import BrowserLink

RUNNER = "web"
"""Which program does its jobs; engines say which of them can run them."""

BROWSER = Option(
    "browser",
    "--browser",
    "Browsers: the program: Chrome, Chromium, Edge or Brave.",
    "FILE",
    variable="MVDEPLOY_BROWSER",
)
NPM = Option(
    "npm",
    "--npm",
    "Browsers: take the engine from this folder, in which it was installed with npm.",
    "DIR",
    variable="MVDEPLOY_NPM",
)
OPTIONS = (BROWSER, NPM)


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> BrowserLink:
    """Return the link to a browser on this machine."""
    from mvdeploy.links.families.browser.link import BrowserLink

    return BrowserLink(profile, options)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure in a browser."""
    from mvdeploy.links.families.browser import checking

    return tuple(checking.checks(profile, options))


def setup(
    profile: DeviceProfile, options: Options, on_step: Callable[[str], None]
) -> tuple[str, ...]:
    """Take the engines from the folder that was given, else have npm fetch them; say what they are.

    Raises:
        UsageError: none of them is in that folder.
        DeviceUnavailable: they cannot be fetched.
    """
    from mvdeploy.kits import web

    given = options.get("npm")
    told, refused, ready = [], [], False
    for engine in profile.engines:
        try:
            kit = web.install(engine, Path(given) if given else None, on_step)
        except MvdeployError as error:
            refused.append(error)
            told.append(f"{engines.title(engine)}: left out ({error.message.rstrip('.')})")
            continue
        ready = True
        told.append(f"{engines.title(engine)} {kit.version} ({kit.sha256[:16]}): ready")
    if refused and (not ready or not given):
        raise refused[0]
    return tuple(told)
