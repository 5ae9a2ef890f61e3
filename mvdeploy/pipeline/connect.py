"""A device link, open: with the device for itself, and a kit for it that is built if need be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from mvdeploy import kits, links
from mvdeploy.errors import MvdeployError
from mvdeploy.kits import build
from mvdeploy.links import KitMissing, Link
from mvdeploy.links.lock import DeviceLock
from mvdeploy.links.remote import RemoteLink
from mvdeploy.report.wording import word

OnStep = Callable[[str], None]


@contextlib.contextmanager
def opened(
    link: Link, on_step: OnStep = lambda _: None, needs: Iterable[str] = ()
) -> Iterator[Link]:
    """Open a link, keep other runs off its device, and close it in the end.

    Args:
        link: not open yet.
        on_step: is told what begins that takes a while.
        needs: engines that are to run there, which a kit is chosen by.

    Raises:
        DeviceUnavailable: the device does not answer, another run measures on it, or what it takes
            to build a kit is missing.
    """
    link.on_sent = _Announced(on_step)
    link.needs = tuple(dict.fromkeys(needs))
    lock = DeviceLock(link.profile.title)
    link.on_reached = lock.take
    try:
        with _telling(link, on_step):
            try:
                _open(link, on_step)
                _tell_kit(link, on_step)
                for sentence in _sentences(link, _MENDED):
                    on_step(sentence)
                yield link
            finally:
                link.close()
    finally:
        lock.release()


_MENDED = ("leftovers_removed", "mode_restored")
_LEFT = ("left_behind", "mode_not_restored", "not_removed", "mode_left_on")
"""What findings say of earlier runs, and of what this one leaves."""


@contextlib.contextmanager
def _telling(link: Link, on_step: OnStep) -> Iterator[None]:
    """Tell what is left on a device, whatever the work on it came to."""
    try:
        yield
    except MvdeployError as error:
        # Nothing else may be seen of a run that has come to nothing.
        for sentence in _sentences(link, _LEFT):
            error.add(sentence)
        raise
    except BaseException:
        for sentence in _sentences(link, _LEFT):
            on_step(sentence)
        raise
    for sentence in _sentences(link, _LEFT):
        on_step(sentence)


def _sentences(link: Link, codes: Sequence[str]) -> Iterator[str]:
    for finding in link.findings():
        if finding.code in codes:
            worded = word(finding)
            yield f"{worded.sentence} {worded.remedy}" if codes is _LEFT else worded.sentence


def _open(link: Link, on_step: OnStep) -> None:
    try:
        link.open()
    except KitMissing as missing:
        on_step(f"build the runner kit for {missing.architecture}")
        build.kit(missing.architecture, on_step=on_step)
        link.open()


def _tell_kit(link: Link, on_step: OnStep) -> None:
    """Tell which of the kits that are there is used; a program of the user's is none."""
    if isinstance(link, RemoteLink) and link.has_kit:
        on_step(f"use the {kits.described(link.kit, links.builds(link.profile))}")


class _Announced:
    """Announces each file that is on its way to a device, once."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._last = ""

    def __call__(self, name: str, sent: int, size: int) -> None:
        if name != self._last:
            self._last = name
            self._on_step(f"send {name} ({size / 1e6:.1f} MB)")
