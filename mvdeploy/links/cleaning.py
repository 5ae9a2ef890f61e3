"""Everything of mvdeploy is removed from a device behind a shell."""

from __future__ import annotations

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import Cleaned, leftovers
from mvdeploy.links.lock import DeviceLock
from mvdeploy.links.remote import RemoteLink


def clean(link: RemoteLink, force: bool) -> Cleaned:
    """Remove what runs have left or keep on a device, and undo what they have set.

    Args:
        link: not open; it is closed afterwards.
        force: also what runs use that are going on.

    Raises:
        DeviceUnavailable: the device does not answer, or a run is going on there.
    """
    lock = DeviceLock(link.profile.title)

    def take(key: str) -> None:
        try:
            lock.take(key)
        except DeviceUnavailable:
            if not force:
                raise

    link.on_reached = take
    try:
        link.reach()
        left = leftovers.look(link.shell, link.home)
        busy = [run for run in left.runs if run.in_use]
        if busy and not force:
            raise _going_on(link.shell.name, busy[0])
        return _cleaned(link, left)
    finally:
        try:
            link.close()
        finally:
            lock.release()


def _cleaned(link: RemoteLink, left: leftovers.Left) -> Cleaned:
    shell, home = link.shell, link.home
    has_mode = any(map(left.has_mode, left.runs))
    restored = has_mode and link.leave_mode()
    leftovers.end_programs(shell, left.runs)
    before = leftovers.sizes(shell, home)
    problem = leftovers.discard(shell, [home])
    after = leftovers.sizes(shell, home) if problem else {}
    if has_mode and not restored:
        problem = problem or DeviceUnavailable(
            f"{shell.name} did not leave its fixed-performance mode.",
            "Restart it, or use 'adb -s SERIAL shell cmd power set-fixed-performance-mode-enabled "
            "false'.",
        )
    sizes = {name: size - after.get(name, 0) for name, size in before.items()}
    removed = {name: size for name, size in sizes.items() if size > 0 or name not in after}
    return Cleaned(home, removed, restored, problem)


def _going_on(name: str, run: leftovers.LeftRun) -> DeviceUnavailable:
    who = f" ({run.who})" if run.who else ""
    return DeviceUnavailable(
        f"A run{who} is going on on {name}.",
        "Wait until it has ended; with --force its files are removed all the same.",
    )
