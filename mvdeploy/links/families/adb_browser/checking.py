"""What it takes to measure in Chrome on a phone, and what of it is there."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy import engines
from mvdeploy.kits import web
from mvdeploy.links import Options, Prerequisite, State, remote_doctor
from mvdeploy.links.families.adb import messages
from mvdeploy.links.families.adb.shell import Adb
from mvdeploy.links.families.adb_browser.link import PhoneBrowserLink
from mvdeploy.links.lock import DeviceLock
from mvdeploy.links.remote_doctor import Step
from mvdeploy.records import DeviceProfile


def checks(profile: DeviceProfile, options: Options) -> tuple[Prerequisite, ...]:
    """Return every prerequisite with its state, in the order in which to meet them."""
    link = PhoneBrowserLink(profile, options)
    lock = DeviceLock(profile.title)
    link.on_reached = lock.take
    try:
        found = remote_doctor.gone_through(tuple(_steps(link, profile, options)))
    finally:
        try:
            link.close()
        finally:
            lock.release()
    return (
        *remote_doctor.gone_through([_engine(name) for name in profile.engines]),
        *found,
        Prerequisite("tried", State.UNKNOWN, "experimental: on no real phone yet"),
    )


def _steps(link: PhoneBrowserLink, profile: DeviceProfile, options: Options) -> Iterator[Step]:
    def program() -> str:
        return Adb(options.get("adb")).program

    def server() -> str:
        with Adb(options.get("adb")) as adb:
            return f"answers; attached: {messages.listed(adb.devices()) or 'nothing'}"

    def device() -> str:
        link.claim()
        return link.shell.name

    def tunnel() -> str:
        with link.tunnels.reverse(9) as port:
            return f"from port {port} of the phone"

    yield Step("adb", program)
    yield Step("adb server", server)
    yield Step("device", device)
    yield Step("tunnel", tunnel)
    yield Step("Chrome", link.version)


def _engine(name: str) -> Step:
    def look() -> str:
        _, kit = web.find(name)
        return f"{engines.title(name)} {kit.version} ({kit.sha256[:16]})"

    return Step(name, look)
