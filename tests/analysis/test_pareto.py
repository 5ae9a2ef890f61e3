"""What no other makes needless, as far as intervals tell."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.pareto import Placed, Point, Standing, front


def point(name: str, time: float, other: float, off: float = 0.1) -> Point:
    return Point(name, time, time - off, time + off, other)


@st.composite
def candidates(draw: st.DrawFn) -> list[Point]:
    numbers = st.integers(1, 9)
    rows = draw(st.lists(st.tuples(numbers, numbers, st.integers(0, 3)), min_size=1, max_size=9))
    return [point(str(i), time, other, off) for i, (time, other, off) in enumerate(rows)]


def by_name(found: tuple[Placed, ...]) -> dict[str, Placed]:
    return {one.point.name: one for one in found}


def test_what_is_slower_and_no_better_is_behind() -> None:
    rows = [point("small", 1, 2), point("large", 2, 8), point("bad", 3, 8), point("best", 4, 9)]
    found = by_name(front(rows, more_is_better=True))
    assert {name: one.standing for name, one in found.items()} == {
        "small": Standing.FRONT,
        "large": Standing.FRONT,
        "bad": Standing.BEHIND,
        "best": Standing.FRONT,
    }
    assert found["bad"].beaten_by == "large" and not found["bad"].drawn


def test_intervals_that_overlap_leave_it_open() -> None:
    rows = [point("a", 1.0, 5, 0.2), point("b", 1.1, 4, 0.2)]
    found = by_name(front(rows, more_is_better=True))
    assert found["a"].standing is Standing.FRONT  # nothing is as good
    assert found["b"].standing is Standing.OPEN and found["b"].rivals == ("a",)
    assert not found["b"].drawn
    less = by_name(front(rows))  # of parameters, less is better
    assert less["b"].standing is Standing.FRONT
    assert less["a"].standing is Standing.OPEN and less["a"].drawn


def test_equals_stay_both() -> None:
    a, b = front([point("a", 1, 1), point("b", 1, 1)])
    assert a.drawn and b.drawn
    assert (a.standing, a.rivals) == (Standing.OPEN, ("b",))


@given(candidates(), st.booleans())
def test_someone_is_always_on_the_front_and_never_beaten_by_what_is_behind(
    rows: list[Point], more: bool
) -> None:
    found = by_name(front(rows, more_is_better=more))
    assert any(one.drawn for one in found.values())
    assert any(one.standing is not Standing.BEHIND for one in found.values())
    fastest = min(rows, key=lambda p: p.high)
    assert found[fastest.name].standing is not Standing.BEHIND
    for one in found.values():
        if one.standing is Standing.BEHIND:
            winner = found[one.beaten_by].point
            assert winner.high < one.point.low
            assert (winner.other - one.point.other) * (1 if more else -1) >= 0
            assert not one.drawn
        if one.standing is Standing.FRONT:
            assert one.drawn


@given(candidates())
def test_exact_times_leave_open_only_equal_ones(rows: list[Point]) -> None:
    exact = [dataclasses.replace(p, low=p.time, high=p.time) for p in rows]
    for one in front(exact):
        same_time = {p.name for p in exact if p.time == one.point.time}
        assert set(one.rivals) <= same_time
        if one.standing is Standing.FRONT:
            worse = (p for p in exact if p.time <= one.point.time and p is not one.point)
            assert all(p.other > one.point.other for p in worse)


@given(candidates())
def test_wider_intervals_never_make_surer(rows: list[Point]) -> None:
    wide = [dataclasses.replace(p, low=p.low - 1, high=p.high + 1) for p in rows]
    for narrow, wider in zip(front(rows), front(wide), strict=True):
        assert wider.standing in (narrow.standing, Standing.OPEN)
        assert wider.drawn == narrow.drawn


@given(candidates())
def test_what_is_surely_behind_changes_nothing(rows: list[Point]) -> None:
    found = front(rows)
    kept = [one.point for one in found if one.standing is not Standing.BEHIND]
    left = by_name(front(kept))
    for one in found:
        if one.standing is not Standing.BEHIND:
            again = left[one.point.name]
            assert (again.drawn, again.standing) == (one.drawn, one.standing)
