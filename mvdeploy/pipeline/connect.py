"""A device link, open: with a kit for the device, which is built if there is none yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mvdeploy.kits import build
from mvdeploy.links import KitMissing, Link

OnStep = Callable[[str], None]


@contextlib.contextmanager
def opened(link: Link, on_step: OnStep = lambda _: None) -> Iterator[Link]:
    """Open a link, and close it in the end.

    Args:
        link: not open yet.
        on_step: is told what begins that takes a while.

    Raises:
        DeviceUnavailable: the device does not answer, or what it takes to build a kit is missing.
    """
    link.on_sent = _Announced(on_step)
    try:
        link.open()
    except KitMissing as missing:
        on_step(f"build the runner kit for {missing.architecture}")
        build.kit(missing.architecture, on_step=on_step)
        link.open()
    try:
        yield link
    finally:
        link.close()


class _Announced:
    """Announces each file that is on its way to a device, once."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._last = ""

    def __call__(self, name: str, sent: int, size: int) -> None:
        if name != self._last:
            self._last = name
            self._on_step(f"send {name} ({size / 1e6:.1f} MB)")
