from __future__ import annotations

import itertools
import operator
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.timing import schedule

MS = 1_000_000
estimates = st.floats(1e5, 1e10) | st.sampled_from([0.0, 1.0, 5e3])
cases = st.lists(st.tuples(st.integers(0, 400), estimates), min_size=1, max_size=5)


@given(cases, st.integers(0, 3), st.integers(0, 99))
def test_counts_are_honoured(made: list[tuple[int, float]], turns: int, seed: int) -> None:
    counts, times = [c for c, _ in made], [t for _, t in made]
    found = schedule.session_schedule(counts, times, turns, random.Random(seed))
    steady = Counter(found.order[: found.steady])
    assert [steady[case] for case in range(len(counts))] == counts
    sizes = schedule.turn_sizes(times)
    assert len(found.order) == sum(counts) + turns * sum(sizes)
    # Every round of turns has every case once, its inferences next to each other.
    rest = found.order[found.steady :]
    for start in range(0, len(rest), sum(sizes)):
        turn = rest[start : start + sum(sizes)]
        assert Counter(turn) == Counter(dict(enumerate(sizes)))
        assert len(list(itertools.groupby(turn))) == len(sizes)
    again = schedule.session_schedule(counts, times, turns, random.Random(seed))
    assert again == found


@given(st.lists(estimates, min_size=2, max_size=5), st.floats(0.1, 5))
def test_turns_are_single_inferences_or_25_ms(times: list[float], seconds: float) -> None:
    sizes = schedule.turn_sizes(times)
    if min(times) >= schedule.FAST_NS:
        assert set(sizes) == {1}
    for size, time in zip(sizes, times, strict=True):
        if min(times) < schedule.FAST_NS and 1000 <= time <= schedule.TURN_NS:
            assert size * time == pytest.approx(schedule.TURN_NS, rel=0.5)
    rounds = schedule.rounds(times, seconds)
    assert rounds >= 5
    pair_s = sum(map(operator.mul, sizes, times)) * 2 / len(times) / 1e9
    if rounds > 5 and min(times) >= 1000:
        assert rounds * pair_s == pytest.approx(seconds, rel=0.1)


@given(cases, st.floats(1e5, 1e9), st.integers(0, 9))
def test_the_anchor_follows_every_block(
    made: list[tuple[int, float]], pace: float, seed: int
) -> None:
    counts, times = [c for c, _ in made], [t for _, t in made]
    found = schedule.session_schedule(counts, times, 0, random.Random(seed), pace)
    anchor = len(counts)
    plain = [case for case in found.order if case != anchor]
    assert Counter(plain) == Counter({c: n for c, n in enumerate(counts) if n})
    assert not plain or found.order[-1] == anchor
    positions = [found.anchors_of(case, anchor) for case in range(anchor)]
    assert sorted(p for own in positions for p in own) == [
        i for i, case in enumerate(found.order) if case == anchor
    ]
    for case, own in enumerate(positions):
        assert bool(own) == bool(counts[case])
    blocks = [(c, len(list(g))) for c, g in itertools.groupby(found.order)]
    for (case, length), (then, anchors) in itertools.pairwise(blocks):
        if case != anchor:
            assert then == anchor
            assert anchors == 1 or anchors * pace <= 0.1001 * length * times[case]


@given(cases)
def test_blocks_are_whole_and_of_the_right_length(made: list[tuple[int, float]]) -> None:
    counts, times = [c for c, _ in made], [t for _, t in made]
    blocks = schedule._blocks(counts, times)
    for case, (count, time) in enumerate(made):
        sizes = [len(block) for block in blocks if case in block]
        assert all(set(block) == {case} for block in blocks if case in block)
        assert sum(sizes) == count
        assert not sizes or max(sizes) - min(sizes) <= 1
        full = max(1, round(schedule.BLOCK_NS / max(time, 1.0)))
        assert all(size <= full for size in sizes)
        assert len(sizes) == -(-count // full)


@given(cases, st.integers(0, 99))
def test_blocks_are_contiguous_in_the_order(made: list[tuple[int, float]], seed: int) -> None:
    counts, times = [c for c, _ in made], [t for _, t in made]
    found = schedule.session_schedule(counts, times, 0, random.Random(seed))
    runs = [(case, len(list(group))) for case, group in itertools.groupby(found.order)]
    blocks = schedule._blocks(counts, times)
    # Neighbouring blocks of one case run together; a block is never split.
    assert len(runs) <= len([block for block in blocks if block])
    for case, length in runs:
        sizes = {len(block) for block in blocks if block and block[0] == case}
        assert any(
            length == small * i + large * j
            for small, large in [(min(sizes), max(sizes))]
            for i in range(length + 1)
            for j in range((length - small * i) // large + 1)
        )


def test_cases_alternate_in_blocks_and_turns() -> None:
    found = schedule.session_schedule([100, 100], [10 * MS, 10 * MS], 200, random.Random(0))
    assert found.steady == 200
    steady, turns = found.order[:200], found.order[200:]
    assert 3 < len(list(itertools.groupby(steady))) <= 8  # 4 blocks of 25 each
    assert len(turns) == 400
    first = Counter(turns[::2])
    assert 60 < first[0] < 140  # neither case has the first turn always


def test_another_seed_gives_another_order() -> None:
    made = [
        schedule.session_schedule([50, 50], [10 * MS] * 2, 50, random.Random(seed)).order
        for seed in range(5)
    ]
    assert len(set(made)) == 5


@given(st.integers(1, 6), st.integers(0, 9), st.integers(1, 5))
def test_creation_is_balanced_over_pairs_of_sessions(cases: int, seed: int, pairs: int) -> None:
    orders = [schedule.creation_order(cases, s, seed) for s in range(2 * pairs)]
    for order in orders:
        assert sorted(order) == list(range(cases))
    for a, b in itertools.permutations(range(cases), 2):
        assert sum(order.index(a) < order.index(b) for order in orders) == pairs
    assert orders == [schedule.creation_order(cases, s, seed) for s in range(2 * pairs)]


def test_pairs_of_sessions_differ() -> None:
    orders = {schedule.creation_order(4, 2 * s, 0) for s in range(20)}
    assert len(orders) > 5


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_a_number_is_split_evenly(total: int, parts: int) -> None:
    found = schedule.split(total, parts)
    assert len(found) == parts
    assert sum(found) == total
    assert max(found) - min(found) <= 1
