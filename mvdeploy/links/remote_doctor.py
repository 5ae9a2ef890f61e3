"""What it takes to measure on a device behind a shell, gone through one by one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence

from mvdeploy import kits
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.links import Prerequisite, State, builds, mend, typed
from mvdeploy.links.lock import DeviceLock
from mvdeploy.links.remote import RemoteLink
from mvdeploy.links.shell import last_line, quote
from mvdeploy.records import UNAVAILABLE

_ENGINES_S = 60.0
_ROOM_KB = 200_000
"""What the runner and the models of a run take at most, about."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to look at.

    Attributes:
        name: what.
        look: returns what was found; raises what is missing, with the way to get it.
    """

    name: str
    look: Callable[[], str]


def checks(link: RemoteLink, first: Sequence[Step] = ()) -> tuple[Prerequisite, ...]:
    """Go through all of it; what follows something that is missing cannot be told.

    Args:
        link: not open; it is closed afterwards.
        first: what comes before the device can be reached.
    """
    lock = DeviceLock(link.profile.title)
    link.on_reached = lock.take
    try:
        results = gone_through((*first, *_Visit(link).steps()))
    finally:
        try:
            link.close()
        finally:
            lock.release()
    return (*results, *_left(link))


def gone_through(steps: Sequence[Step]) -> tuple[Prerequisite, ...]:
    """Go through steps; what follows one that is missing cannot be told."""
    results: list[Prerequisite] = []
    missing = ""
    for step in steps:
        results.append(_unknown(step, missing) if missing else _looked(step))
        if results[-1].state is State.MISSING:
            missing = step.name
    return tuple(results)


_LEFT = {
    "left_behind": "it was gone before what it was sent could be removed: {reason}",
    "not_removed": "not everything could be removed: {reason}",
    "mode_left_on": "it did not leave its fixed-performance mode",
}


def _left(link: RemoteLink) -> Iterator[Prerequisite]:
    """Tell of what could not be put right in the end; nothing when all is."""
    for finding in link.findings():
        if sentence := _LEFT.get(finding.code):
            found = sentence.format(**finding.values).rstrip(".")
            remedy = f"Use 'mvdeploy devices clean {typed(link.profile)}' when it is there again."
            yield Prerequisite("left as it was", State.MISSING, found, remedy)


class _NotToldError(Exception):
    """The device does not tell something that can be done without."""


def _looked(step: Step) -> Prerequisite:
    try:
        return Prerequisite(step.name, State.MET, step.look())
    except _NotToldError as error:
        return Prerequisite(step.name, State.UNKNOWN, str(error))
    except MvdeployError as error:
        return Prerequisite(step.name, State.MISSING, error.message.rstrip("."), error.remedy)


def _unknown(step: Step, missing: str) -> Prerequisite:
    return Prerequisite(step.name, State.UNKNOWN, f"'{missing}' comes first")


class _Visit:
    """Goes through a device, from its shell to its clocks."""

    def __init__(self, link: RemoteLink) -> None:
        self._link = link

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("device", self._device),
            Step("architecture", self._architecture),
            Step("storage", self._storage),
            Step("runner kit", self._kit),
            Step("programs run", self._hello),
            Step("engines load", self._engines),
            Step("clocks", self._clocks),
        )

    def _device(self) -> str:
        self._link.claim()
        identity = self._link.identity()
        emulated = ", an emulated device" if self._link.emulated else ""
        return f"{identity['machine']}, {identity['os']}{emulated}{self._mended()}"

    def _mended(self) -> str:
        found = {finding.code: finding.values for finding in self._link.findings()}
        mended = []
        if removed := found.get("leftovers_removed"):
            mended.append(f"{removed['megabytes']} MB of runs that have ended were removed")
        if "mode_restored" in found:
            mended.append("fixed-performance mode, left on by one, was switched off")
        return "".join(f"; {one}" for one in mended)

    def _architecture(self) -> str:
        return self._link.architecture()

    def _storage(self) -> str:
        shell = self._link.shell
        answer = shell.call(f"df -k {quote(shell.folder)}")
        words = answer.out.split()[-6:] if answer.status == 0 else []
        free = int(words[3]) if len(words) == 6 and words[3].isdecimal() else None
        if free is not None and free < _ROOM_KB:
            raise DeviceUnavailable(
                f"{shell.folder} has {free / 1e3:.0f} MB left.",
                f"Free {_ROOM_KB / 1e3:.0f} MB on the device, for the runner and the models.",
            )
        return f"{shell.folder}, {'unknown' if free is None else f'{free / 1e6:.1f} GB'} free"

    def _kit(self) -> str:
        self._link.send_kit()
        return kits.described(self._link.kit, builds(self._link.profile))

    def _hello(self) -> str:
        answer = self._link.call_runner("--hello")
        try:
            hello = json.loads(answer.out)
        except ValueError as error:
            words = last_line(answer.error or answer.out) or "it says nothing"
            raise EngineError(
                f"The runner does not run there (exit status {answer.status}: {words}).",
                mend(self._link.profile),
            ) from error
        return f"{hello.get('architecture', UNAVAILABLE)}, {hello.get('build', UNAVAILABLE)}"

    def _engines(self) -> str:
        answer = self._link.call_runner("--engines", _ENGINES_S)
        loaded, failed = [], []
        for line in answer.out.splitlines():
            try:
                report = json.loads(line)
            except ValueError:
                failed.append(line[:200])
                continue
            if "error" in report:
                failed.append(f"{report['engine']}: {report['error']}")
            else:
                loaded.append(f"{report['engine']} {report['version']}")
        if failed or not loaded:
            raise EngineError(
                f"Not every engine can be loaded there ({'; '.join(failed) or 'there is none'}).",
                mend(self._link.profile),
            )
        return ", ".join(loaded)

    def _clocks(self) -> str:
        allowed = self._link.state().readings.get("cpu_max_khz", UNAVAILABLE)
        if not isinstance(allowed, tuple):
            raise _NotToldError("the device does not tell")
        gigahertz = (f"{int(khz) / 1e6:.2f}" for khz in dict.fromkeys(allowed))
        return f"up to {', '.join(gigahertz)} GHz"
