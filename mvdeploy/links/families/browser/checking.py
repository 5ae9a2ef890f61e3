"""What it takes to measure in a browser of this machine, and what of it is there."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.kits import web
from mvdeploy.links import Options, Prerequisite, State
from mvdeploy.links.browsing.devtools import Devtools, Refused
from mvdeploy.links.families.browser import program
from mvdeploy.records import DeviceProfile

_START_S = 30.0


def checks(profile: DeviceProfile, options: Options) -> Iterator[Prerequisite]:
    """Give every prerequisite with its state, in the order in which to meet them."""
    try:
        path = program.find(options.get("browser"))
    except DeviceUnavailable as error:
        yield Prerequisite("browser", State.MISSING, error.message, error.remedy)
        path = ""
    else:
        yield Prerequisite("browser", State.MET, path)
    if path:
        if program.is_root():
            yield Prerequisite(
                "sandbox", State.MET, "off, as this is root: only mvdeploy's own page is opened"
            )
        yield from _start(path)
    for engine in profile.engines:
        try:
            _, kit = web.find(engine)
        except MvdeployError as error:
            yield Prerequisite(engine, State.MISSING, error.message, error.remedy)
        else:
            yield Prerequisite(engine, State.MET, f"{kit.version} ({kit.sha256[:16]})")


def _start(path: str) -> Iterator[Prerequisite]:
    try:
        version = version_of(path)
    except DeviceUnavailable as error:
        yield Prerequisite("start", State.MISSING, error.message, error.remedy)
    else:
        yield Prerequisite("start", State.MET, version)


@functools.cache
def version_of(path: str) -> str:
    """Return the name and version that a browser gives when it is started.

    Raises:
        DeviceUnavailable: it does not start.
    """
    with program.running(path) as browser:
        devtools = Devtools(browser.pipe, lambda _name, _parameters: None)
        try:
            answer = devtools.call("Browser.getVersion", limit_s=_START_S)
            return str(answer["product"]).replace("/", " ")
        except Refused as error:
            raise not_started(path, browser, error) from error


def not_started(path: str, browser: program.Browser, error: Refused) -> DeviceUnavailable:
    """Word the error for a browser that has ended at its start, or does nothing then."""
    if browser.runs():
        return DeviceUnavailable(
            f"{path} does not answer as a browser does ({error.message.rstrip('.')}).",
            "Give the file of Chrome, Chromium, Edge or Brave with --browser.",
        )
    reason, remedy = program.why(browser.said())
    return DeviceUnavailable(f"The browser {path} does not start: {reason}.", remedy)
