"""What a page takes more than a program on the same machine, and in which parts of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mvdeploy.analysis.breakdown_view import Part
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.comparability import MACHINE, browser_of
from mvdeploy.records import Device


@dataclasses.dataclass(frozen=True)
class Loss:
    """A part of the latency, as a program has it and as a page does.

    Attributes:
        title: of the part: a category, or a kind of operator.
        native_ns: nanoseconds of an inference in the program.
        web_ns: in the page.
        share: of what the page takes more in all; below 0 for a part in which it is faster.
    """

    title: str
    native_ns: float
    web_ns: float
    share: float

    @property
    def times(self) -> float | None:
        """How many times as long it takes in the page; None where the program has nothing of it."""
        return self.web_ns / self.native_ns if self.native_ns else None


def on_one_machine(native: Device, web: Device) -> bool:
    """Say whether one device is the machine that a browser of the other runs on."""
    return (
        bool(browser_of(web))
        and not browser_of(native)
        and all(native.identity.get(key) == web.identity.get(key) for key in MACHINE)
    )


def made_of(case: CaseView) -> str:
    """Return the engine of a case; of one for browsers the native engine that it is built from.

    The two are called alike: see `mvdeploy.engines`.
    """
    engine = case.case.engine
    return engine.removesuffix("-web") if browser_of(case.device) else engine


def categories(native: CaseView, web: CaseView) -> tuple[Loss, ...]:
    """Divide what a page takes more by category; nothing without both breakdowns."""
    if native.breakdown is None or web.breakdown is None:
        return ()
    return _losses(native.breakdown.parts, web.breakdown.parts)


def kinds(native: CaseView, web: CaseView) -> tuple[Loss, ...]:
    """Divide it by kind of operator."""
    if native.breakdown is None or web.breakdown is None:
        return ()
    return _losses(native.breakdown.kinds, web.breakdown.kinds)


def together(losses: Iterable[tuple[Loss, ...]]) -> tuple[Loss, ...]:
    """Add up the parts of several cases."""
    sums: dict[str, tuple[float, float]] = {}
    for loss in (loss for one in losses for loss in one):
        native, web = sums.get(loss.title, (0.0, 0.0))
        sums[loss.title] = native + loss.native_ns, web + loss.web_ns
    return _of(sums)


def _losses(native: Iterable[Part], web: Iterable[Part]) -> tuple[Loss, ...]:
    sums: dict[str, tuple[float, float]] = {}
    for part in native:
        before, _ = sums.get(part.title, (0.0, 0.0))
        sums[part.title] = before + part.ns, 0.0
    for part in web:
        here, before = sums.get(part.title, (0.0, 0.0))
        sums[part.title] = here, before + part.ns
    return _of(sums)


def _of(sums: dict[str, tuple[float, float]]) -> tuple[Loss, ...]:
    more = sum(web - native for native, web in sums.values())
    return tuple(
        Loss(title, native, web, (web - native) / more if more else 0.0)
        for title, (native, web) in sums.items()
        if native or web
    )
