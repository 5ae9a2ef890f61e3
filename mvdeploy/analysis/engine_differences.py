"""The same network on two engines: which modules one runs slower than the other.

Engines fuse other operators and networks are written differently for them, so not every module has
time on both. Modules are opened from the network downwards as long as what is inside has time on
both sides; where it has not, the module that holds it all is compared as a whole.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mvdeploy.analysis.breakdown_view import NETWORK, BreakdownView
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.ratios import ComparisonView, Difference, difference_of
from mvdeploy.records import Case

NEGLIGIBLE = 0.01
"""A part with time on one side only keeps its module closed from this share of it on."""

Times = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class ModuleDifference:
    """A module on two engines.

    Attributes:
        path: dotted; of everything inside, or of the operators of its own code.
        inside: everything inside counts, not only its own code.
        a_ns: nanoseconds on the first engine.
        b_ns: nanoseconds on the second.
    """

    path: str
    inside: bool
    a_ns: float
    b_ns: float

    @property
    def change_ns(self) -> float:
        """Nanoseconds that the second engine takes more."""
        return self.b_ns - self.a_ns


@dataclasses.dataclass(frozen=True)
class EngineDifference:
    """The same network on two engines.

    Attributes:
        parts: the two cases, and the parts of their latency.
        modules: largest difference first, whichever side it favours.
    """

    parts: Difference
    modules: tuple[ModuleDifference, ...]

    @property
    def network(self) -> str:
        """The network, and in which precision; unsaid where that is fp32 on both."""
        a, b = self.parts.a.case, self.parts.b.case
        precisions = dict.fromkeys(_precision(case) for case in (b, a))
        said = " against ".join(precisions)
        return a.label if said == "fp32" else f"{a.label} in {said}"

    @property
    def losses(self) -> tuple[ModuleDifference, ...]:
        """The modules that the second engine runs slower, worst first."""
        return tuple(m for m in self.modules if m.change_ns > 0)

    @property
    def gains(self) -> tuple[ModuleDifference, ...]:
        """The modules that the second engine runs faster, best first."""
        return tuple(m for m in self.modules if m.change_ns < 0)


def engine_differences(
    comparisons: Sequence[ComparisonView], cases: Sequence[CaseView]
) -> tuple[EngineDifference, ...]:
    """Compare the profiled cases of one network on different engines of one device.

    Cases in one precision are compared, and such in two where neither has one in its own on the
    other engine.
    """
    estimates = {(c.a.key, c.b.key): c.estimate for c in comparisons}
    pairs = []
    for i, a in enumerate(cases):
        for b in cases[i + 1 :]:
            if a.breakdown and b.breakdown and _comparable(a, b, cases):
                parts = difference_of(a, b, estimates.get((a.key, b.key)))
                pairs.append(_engine_difference(parts, a.breakdown, b.breakdown))
    return tuple(pairs)


def _comparable(a: CaseView, b: CaseView, cases: Sequence[CaseView]) -> bool:
    if not _same_network(a, b):
        return False
    if _precision(a.case) == _precision(b.case):
        return True
    return not any(
        _precision(one.case) == _precision(other.case)
        for one in (a, b)
        for other in cases
        if _same_network(one, other) and other.case.engine in (a.case.engine, b.case.engine)
    )


def _precision(case: Case) -> str:
    return case.artifact.precision if case.artifact is not None else ""


def _same_network(a: CaseView, b: CaseView) -> bool:
    first, second = a.case.artifact, b.case.artifact
    if first is None or second is None or a.case.engine == b.case.engine:
        return False
    return first.spec == second.spec and a.device == b.device


def _engine_difference(
    parts: Difference, before: BreakdownView, after: BreakdownView
) -> EngineDifference:
    # As for the parts: of two cases that took turns, the ratio is better known than the medians.
    scale = parts.rows[-1].b_ns / after.total_ns if after.total_ns else 1.0
    a = {_key(m.path): m.ns for m in before.modules}
    b = {_key(m.path): m.ns * scale for m in after.modules}
    return EngineDifference(parts, aligned(a, b))


def aligned(a: Times, b: Times) -> tuple[ModuleDifference, ...]:
    """Compare the times of modules by path; see the module's docstring.

    Args:
        a: nanoseconds of each module's own operators on the first engine, by path; the network
            itself is the empty path.
        b: the same on the second.

    Returns:
        Largest difference first. Each time is in just one of them.
    """
    children: dict[str, dict[str, None]] = defaultdict(dict)
    for path in (*a, *b):
        for parent, child in _steps(path):
            children[parent][child] = None
    found = _open("", _Times(a, _inclusive(a)), _Times(b, _inclusive(b)), children)
    return tuple(sorted(found, key=lambda m: -abs(m.change_ns)))


class _Times(NamedTuple):
    """Times of one engine by path: of the module itself, and with what is in it."""

    own: Times
    inside: Times


def _steps(path: str) -> Iterator[tuple[str, str]]:
    """Yield module and submodule from the network down to a path."""
    parent = ""
    for part in path.split(".") if path else ():
        child = f"{parent}.{part}" if parent else part
        yield parent, child
        parent = child


def _inclusive(times: Times) -> Times:
    total: dict[str, float] = defaultdict(float)
    for path, ns in times.items():
        for inside in ("", *(child for _, child in _steps(path))):
            total[inside] += ns
    return total


def _key(path: str) -> str:
    return "" if path == NETWORK else path


def _open(
    path: str, a: _Times, b: _Times, children: Mapping[str, Iterable[str]]
) -> Iterator[ModuleDifference]:
    """Yield a module as a whole, or what is in it."""

    def inside(module: str, times: _Times) -> float:
        return times.inside.get(module, 0.0)

    parts = children.get(path, ())
    whole = ModuleDifference(path, True, inside(path, a), inside(path, b))
    alone = [part for part in parts if not (inside(part, a) and inside(part, b))]
    left = sum(inside(part, a) + inside(part, b) for part in alone)
    if not parts or left > NEGLIGIBLE * min(whole.a_ns, whole.b_ns):
        yield whole
        return
    own = [sum(inside(part, t) for part in alone) + t.own.get(path, 0.0) for t in (a, b)]
    if any(own):
        yield ModuleDifference(path, False, *own)
    for part in parts:
        if part not in alone:
            yield from _open(part, a, b, children)
