from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.records import PairGroup, Samples
from mvdeploy.stats.paired import choose_clock, ratio

MS = 1_000_000


def group(a: list[int], b: list[int], first: int = 1) -> PairGroup:
    # CPU times are half the wall times, so that a mix-up of the clocks cannot go unseen.
    return PairGroup(
        first,
        Samples(tuple(a), tuple(t // 2 for t in a)),
        Samples(tuple(b), tuple(t // 2 for t in b)),
    )


def simulate(
    seed: int,
    *,
    true_ratio: float = 1.0,
    penalty: float = 0.0,
    groups: int = 6,
    pairs: int = 40,
    between: float = 0.003,
    orders: tuple[int, ...] = (1, -1),
) -> list[PairGroup]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(groups):
        first = orders[i % len(orders)]
        shared = rng.normal(0, 0.2, pairs)
        a, b = rng.normal(0, 0.03, (2, pairs))
        a = 5e8 * np.exp(shared + a + (penalty if first > 0 else 0))
        b = 5e8 * np.exp(shared + b + (penalty if first < 0 else 0) + rng.normal(0, between))
        made.append(group(a.astype(int).tolist(), (b * true_ratio).astype(int).tolist(), first))
    return made


@st.composite
def groups(draw: st.DrawFn) -> list[PairGroup]:
    sizes = draw(st.lists(st.integers(2, 12), min_size=1, max_size=6))
    times = st.integers(MS, 10 * MS)
    made = []
    for i, size in enumerate(sizes):
        a = draw(st.lists(times, min_size=size, max_size=size))
        b = draw(st.lists(times, min_size=size, max_size=size))
        made.append(group(a, b, 1 if i % 2 else -1))
    return made


@settings(deadline=None, max_examples=60)
@given(groups())
def test_swapping_the_cases_inverts_everything(made: list[PairGroup]) -> None:
    there = ratio(made, "wall")
    back = ratio([PairGroup(-g.first_created, g.b, g.a) for g in made], "wall")
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.low == pytest.approx(1 / there.high)
    assert back.high == pytest.approx(1 / there.low)
    assert back.detectable == pytest.approx(there.detectable)


@settings(deadline=None, max_examples=60)
@given(groups(), st.integers(2, 9))
def test_the_unit_does_not_matter(made: list[PairGroup], factor: int) -> None:
    def grown(s: Samples) -> Samples:
        return Samples(tuple(t * factor for t in s.wall_ns), tuple(t * factor for t in s.cpu_ns))

    small = ratio(made, "cpu")
    large = ratio([PairGroup(g.first_created, grown(g.a), grown(g.b)) for g in made], "cpu")
    assert large.ratio == pytest.approx(small.ratio)
    assert large.low == pytest.approx(small.low)


@settings(deadline=None)
@given(st.lists(st.integers(MS, 10 * MS), min_size=2, max_size=20), st.integers(1, 6))
def test_identical_samples_have_ratio_one(times: list[int], count: int) -> None:
    estimate = ratio([group(times, times, 1 if i % 2 else -1) for i in range(count)], "wall")
    assert (estimate.low, estimate.ratio, estimate.high) == (1.0, 1.0, 1.0)
    assert estimate.verdict == "no difference detected"
    assert estimate.detectable == 0


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, "faster"), (1.1, "slower")])
def test_finds_a_difference(factor: float, verdict: str) -> None:
    estimate = ratio(simulate(3, true_ratio=factor), "cpu")
    assert estimate.verdict == verdict
    assert estimate.low < factor < estimate.high
    assert estimate.clock == "cpu"
    assert (estimate.groups, estimate.pairs) == (6, 240)


def test_the_clock_is_the_one_asked_for() -> None:
    both = PairGroup(1, Samples((100, 100), (10, 10)), Samples((200, 200), (30, 30)))
    assert ratio([both], "wall").ratio == pytest.approx(2)
    assert ratio([both], "cpu").ratio == pytest.approx(3)


@pytest.mark.parametrize("orders", [(1, -1), (1, 1, -1)])
def test_the_order_of_creation_cancels(orders: tuple[int, ...]) -> None:
    plain = ratio(simulate(5, orders=orders), "wall")
    penalised = ratio(simulate(5, penalty=0.013, orders=orders), "wall")
    assert abs(penalised.ratio - plain.ratio) < 0.001
    assert penalised.high / penalised.low == pytest.approx(plain.high / plain.low, rel=1e-3)


def test_outliers_are_trimmed() -> None:
    a, b = [5 * MS] * 20, [5 * MS] * 20
    b[3] *= 50
    assert ratio([group(a, b)], "wall").ratio == pytest.approx(1)


def test_coverage_and_false_alarms() -> None:
    covered = sum(e.low <= 1.02 <= e.high for e in (_estimate(seed, 1.02) for seed in range(400)))
    alarms = sum(_estimate(seed, 1.0).verdict != "no difference detected" for seed in range(400))
    assert 0.92 <= covered / 400 <= 0.98
    assert 0.02 <= alarms / 400 <= 0.08


def _estimate(seed: int, true_ratio: float):  # type: ignore[no-untyped-def]
    return ratio(simulate(seed, true_ratio=true_ratio, penalty=0.01), "wall")


def test_the_detectable_effect_is_found_at_the_stated_rate() -> None:
    effect = float(np.median([_estimate(seed, 1.0).detectable for seed in range(60)]))
    found = sum(_estimate(seed, 1 + effect).verdict == "slower" for seed in range(300))
    assert 0.7 <= found / 300 <= 0.9


@pytest.mark.parametrize(
    ("count", "orders", "between"),
    [(3, (1, -1), False), (4, (1, -1), True), (6, (1,), False), (4, (-1,), False)],
)
def test_says_what_the_interval_rests_on(
    count: int, orders: tuple[int, ...], between: bool
) -> None:
    estimate = ratio(simulate(7, groups=count, orders=orders), "wall")
    assert estimate.between_groups is between
    assert estimate.low < estimate.ratio < estimate.high


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "no groups"),
        ([group([], [])], "no pairs"),
        ([group([1, 2], [1])], "differ in length"),
        ([PairGroup(1, Samples((1, 2), (1,)), Samples((1, 2), (1,)))], "differ in length"),
        ([group([2, 1], [2, 2])], "cpu time is zero"),
        ([group([2], [2])], "single pair"),
    ],
)
def test_refuses_what_gives_no_ratio(made: list[PairGroup], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio(made, "cpu")


def test_clock() -> None:
    assert choose_clock(1).clock == "cpu"
    assert choose_clock(4).clock == "wall"
    assert "4 threads" in choose_clock(4).reason
    assert choose_clock(1, cpu_complete=False).clock == "wall"
