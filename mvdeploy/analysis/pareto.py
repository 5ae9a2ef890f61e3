"""Which of several are worth having: none is both faster and better in something else.

Times have intervals. A point is surely on the front when even its slowest is faster than the
fastest of all that are as good or better in the other, and surely behind it when one of these is
faster for certain. Between the two, what was measured cannot tell.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence


class Standing(enum.StrEnum):
    """Where a point is, as far as its interval and those of others tell."""

    FRONT = "on the front"
    OPEN = "cannot be told"
    BEHIND = "behind"


@dataclasses.dataclass(frozen=True)
class Point:
    """A candidate.

    Attributes:
        name: of it.
        time: the less the better, in any unit.
        low: lower end of the interval of the time.
        high: upper end.
        other: what is held against the time, known without an error.
    """

    name: str
    time: float
    low: float
    high: float
    other: float


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where a point is.

    Attributes:
        point: the candidate.
        standing: as far as intervals tell.
        drawn: whether it is on the front of the estimates themselves, as a figure draws it.
        rivals: names of those that it cannot be told from; empty unless it is open.
        beaten_by: name of the one that is surely faster and as good; empty unless it is behind.
    """

    point: Point
    standing: Standing
    drawn: bool
    rivals: tuple[str, ...] = ()
    beaten_by: str = ""


def front(points: Sequence[Point], *, more_is_better: bool = False) -> tuple[Placed, ...]:
    """Place every point, in the order given.

    Args:
        points: the candidates.
        more_is_better: of what is held against the time, as of an accuracy; less is otherwise.
    """
    return tuple(_placed(point, points, more_is_better) for point in points)


def _placed(point: Point, points: Sequence[Point], more_is_better: bool) -> Placed:
    better = [p for p in points if p is not point and _as_good(p, point, more_is_better)]
    drawn = not any(_beats(p, point) for p in better)
    faster = [p for p in better if p.high < point.low]
    if faster:
        first = min(faster, key=lambda p: p.high)
        return Placed(point, Standing.BEHIND, drawn, beaten_by=first.name)
    rivals = tuple(p.name for p in better if p.low <= point.high)
    standing = Standing.OPEN if rivals else Standing.FRONT
    return Placed(point, standing, drawn, rivals)


def _as_good(p: Point, q: Point, more_is_better: bool) -> bool:
    return p.other >= q.other if more_is_better else p.other <= q.other


def _beats(p: Point, q: Point) -> bool:
    """Say whether p, which is as good, leaves no reason to take q: of equals both stay."""
    return p.time < q.time or (p.time == q.time and p.other != q.other)
