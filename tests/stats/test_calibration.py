from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import calibration, synthetic
from benchmarks.calibration import Rate
from benchmarks.synthetic import MACHINES, Machine, Trials, Truth
from mvdeploy.records import PairGroup
from mvdeploy.stats.paired import RatioEstimate, ratio

SEEDS = range(200)
seconds = st.floats(0, 100, allow_nan=False)


def machine(name: str, trials: int = 1, seed: int = 0) -> Machine:
    return MACHINES[name](trials, np.random.default_rng(seed))


def slowness(name: str, times: np.ndarray, trials: int = 1) -> np.ndarray:
    """One row for each time."""
    made = machine(name, trials)
    return np.array([made.slowness(np.full(trials, now)) for now in times])


# The machines do what they say.


@given(st.lists(seconds, min_size=1, max_size=20))
def test_the_steady_machines_are_equally_fast_at_all_times(times: list[float]) -> None:
    assert set(slowness("iid", np.sort(times)).flat) == {1.0}
    assert set(slowness("noisy", np.sort(times)).flat) == {1.0}


@given(st.lists(seconds, min_size=2, max_size=20))
def test_the_ramp_never_gets_faster(times: list[float]) -> None:
    found = slowness("ramp", np.sort(times))
    assert np.all(np.diff(found[:, 0]) >= 0)
    assert np.all((found >= 1) & (found <= 1.15))


def test_the_ramp_rises_by_15_per_cent_over_15_s() -> None:
    found = slowness("ramp", np.array([0.0, 7.5, 15.0, 60.0]))[:, 0]
    assert found == pytest.approx([1.0, 1.075, 1.15, 1.15])


@pytest.mark.parametrize(("name", "dwell_s"), [("dvfs-slow", 2.0), ("dvfs-fast", 0.2)])
def test_dvfs_dwells_as_long_as_it_says(name: str, dwell_s: float) -> None:
    step_s, trials = dwell_s / 200, 20
    found = slowness(name, np.arange(0, 100 * dwell_s, step_s), trials)
    assert set(found.flat) == {1.0, 1.3}
    changes = np.diff(found, axis=0) != 0
    assert changes.size * step_s / changes.sum() == pytest.approx(dwell_s, rel=0.06)
    assert (found > 1).mean() == pytest.approx(0.5, abs=0.04)
    # Random times have a standard deviation like their mean; a clockwork would have none.
    stays = np.diff(np.flatnonzero(changes[:, 0])) * step_s
    assert stays.std() == pytest.approx(dwell_s, rel=0.35)


def test_dvfs_does_not_depend_on_when_it_is_asked() -> None:
    often = slowness("dvfs-fast", np.arange(0, 20, 0.01))
    seldom = slowness("dvfs-fast", np.arange(0, 20, 0.5))
    assert np.array_equal(often[::50], seldom)


@given(st.integers(0, 2_000_000), st.integers(1, 100))
def test_the_periodic_machine_repeats_itself_after_25_ms(microseconds: int, periods: int) -> None:
    now = microseconds / 1e6
    first, later = slowness("periodic", np.array([now, now + periods * 0.025]))[:, 0]
    assert first == pytest.approx(later, abs=1e-6)
    assert 1 <= first <= 1.4


def test_the_periodic_machine_is_disturbed_for_6_of_25_ms() -> None:
    found = slowness("periodic", np.arange(0, 1, 1e-4), trials=20)
    assert (found > 1).mean() == pytest.approx(6 / 25, abs=0.01)
    assert found.max() == pytest.approx(1.4, abs=0.01)


@pytest.mark.parametrize("step_s", [0.01, 0.2])
def test_the_autoregressive_machine_forgets_in_a_fifth_of_a_second(step_s: float) -> None:
    logs = np.log(slowness("ar1", np.arange(0, 40, step_s), trials=50))
    lag = round(0.2 / step_s)
    assert logs.std() == pytest.approx(0.05, rel=0.05)
    correlation = np.corrcoef(logs[:-lag].ravel(), logs[lag:].ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-1), abs=0.05)


def test_samples_have_a_heavy_right_tail() -> None:
    times = np.array([g.a.cpu_ns for g in Trials("iid", SEEDS).group()], dtype=float)
    middle = np.median(times)
    low, high = np.percentile(times, [1, 99])
    assert middle == pytest.approx(5e6, rel=0.01)
    assert high - middle > 3 * (middle - low)


@pytest.mark.parametrize("name", MACHINES)
def test_equal_seeds_give_equal_samples(name: str) -> None:
    def three(seeds: Sequence[int]) -> list[list[PairGroup]]:
        trials = Trials(name, seeds)
        return [trials.group() for _ in range(3)]

    assert three(range(3)) == three(range(3))
    assert three(range(3)) != three(range(1, 4))


@given(st.sampled_from(list(MACHINES)), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_the_clock_counts_inferences_and_pauses(name: str, seed: int) -> None:
    trials = Trials(name, [seed])
    spent = 0.0
    for number in range(1, 4):
        (group,) = trials.group()
        spent += (sum(group.a.wall_ns) + sum(group.b.wall_ns)) / 1e9
        assert 0.4 * number < trials.now_s[0] - spent < 0.5 * number + 1e-6


# Orders and truth.


@given(st.integers(0, 10**6), st.integers(0, 30))
@settings(deadline=None)
def test_the_order_is_the_products(seed: int, number: int) -> None:
    found = synthetic.product_order(seed, number, 5e6)
    pairs = list(zip(found.cases[::2], found.cases[1::2], strict=True))
    assert len(pairs) == 100
    assert set(pairs) == {(0, 1), (1, 0)}
    partner = synthetic.product_order(seed, number ^ 1, 5e6)
    assert found.first_created == -partner.first_created


@given(st.integers(0, 10**6), st.integers(0, 30))
@settings(deadline=None)
def test_sessions_come_one_after_the_other_in_both_orders(seed: int, number: int) -> None:
    found = synthetic.session_order(seed, number, 5e6)
    assert found.apart and found.block == 200
    assert found.cases == tuple(sorted(found.cases, reverse=found.first_created < 0))
    assert found.first_created == -synthetic.session_order(seed, number ^ 1, 5e6).first_created
    assert synthetic.one_sided_sessions(seed, number, 5e6).cases == (0,) * 200 + (1,) * 200


def test_a_pause_lies_between_sessions() -> None:
    trials = Trials("iid", [0], order=synthetic.session_order)
    (group,) = trials.group()
    spent = (sum(group.a.wall_ns) + sum(group.b.wall_ns)) / 1e9
    assert 0.8 < trials.now_s[0] - spent < 1.0 + 1e-6


def test_short_inferences_take_turns_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick(Machine):
        base_ns = 0.5e6

    monkeypatch.setitem(MACHINES, "quick", Quick)
    (group,) = Trials("quick", [0]).group()
    assert (group.block_a, group.block_b) == (50, 50)
    assert ratio([group], "cpu").pairs == 20


@pytest.mark.parametrize(
    ("order", "cases"),
    [
        (synthetic.long_fixed_order, (0, 1) * 1000),
        (synthetic.long_sequential_order, (0,) * 1000 + (1,) * 1000),
    ],
)
def test_the_wrong_orders(order: synthetic.Order, cases: tuple[int, ...]) -> None:
    assert order(1, 0, 5e6).cases == cases


def test_the_truth_is_in_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Machine):
        noise = 0.0

    monkeypatch.setitem(MACHINES, "silent", Silent)
    trials = Trials("silent", range(4), Truth(1.02, first_penalty=0.013, session_sd=0.0))
    for group in (*trials.group(), *trials.group()):
        penalty = 1.013**group.first_created
        assert ratio([group], "cpu").ratio == pytest.approx(1.02 / penalty, rel=1e-6)


# Counting.


def estimate(groups: int, half_width: float = 0.005, centre: float = 1.0) -> RatioEstimate:
    low, high = centre / (1 + half_width), centre * (1 + half_width)
    return RatioEstimate(centre, low, high, 0.95, groups, 100 * groups, "cpu", 0.01, True)


@given(st.integers(1, 500), st.data())
def test_rates_lie_in_their_intervals(trials: int, data: st.DataObject) -> None:
    rate = Rate(data.draw(st.integers(0, trials)), trials)
    low, high = rate.interval()
    wide_low, wide_high = rate.interval(0.999)
    assert wide_low <= low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= high <= wide_high
    assert rate.within((low - 1e-12, high + 1e-12))
    assert not rate.within((1.1, 2.0))


def test_the_width_rule_waits_for_the_least_groups_and_ends_with_the_minute() -> None:
    assert not synthetic.when_narrow(estimate(6), 9.0, least=8)
    assert synthetic.when_narrow(estimate(8), 12.0, least=8)
    assert not synthetic.when_narrow(estimate(8, 0.02), 12.0, least=8)
    assert not synthetic.when_narrow(estimate(38, 0.02), 56.0, least=8)
    assert synthetic.when_narrow(estimate(40, 0.02), 59.0, least=8)
    # Where the interval lies is none of its business.
    assert not synthetic.when_narrow(estimate(8, 0.02, centre=2.0), 12.0, least=8)


def row(**changes: object) -> calibration.Row:
    good = calibration.Row(
        machine="m",
        alarms=Rate(50, 1000),
        coverage=Rate(950, 1000),
        power=Rate(990, 1000),
        half_width=0.006,
        stopped=dict.fromkeys(calibration.LEASTS, Rate(60, 1000)),
        stopped_groups=dict.fromkeys(calibration.LEASTS, 10.0),
        bias=0.0001,
    )
    return dataclasses.replace(good, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alarms": Rate(71, 1000)}, "false alarms 7.1"),
        ({"alarms": Rate(29, 1000)}, "false alarms 2.9"),
        ({"coverage": Rate(929, 1000)}, "coverage 92.9"),
        ({"stopped": dict.fromkeys(calibration.LEASTS, Rate(71, 1000))}, "width rule 7.1"),
        ({"bias": -0.0011}, "bias -0.110"),
    ],
)
def test_says_what_is_out_of_bounds(changes: dict[str, object], words: str) -> None:
    assert list(row().faults()) == []
    (fault,) = row(**changes).faults()
    assert words in fault


def test_a_control_that_looks_right_is_a_fault() -> None:
    control = calibration.CONTROLS[0]
    assert list(calibration.ControlRow(control, [1.0] * 10, [0.0] * 10).faults()) == []
    (fault,) = calibration.ControlRow(control, [0.0] * 9 + [1.0], [0.0] * 10).faults()
    assert "looks right" in fault


def test_the_command_prints_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    options = ["--trials", "4", "--machine", "ramp", "--workers", "1", "--json", str(target)]
    # Of four trials none, one or more are false alarms: 0 %, 25 % or more.
    assert calibration.main(options) == 1
    printed = capsys.readouterr().out
    assert "Welch's test" in printed
    assert "ramp: false alarms" in printed
    turns, sessions = json.loads(target.read_text(encoding="utf-8"))["machines"]
    assert (turns["machine"], sessions["machine"]) == ("ramp", f"ramp{calibration.APART}")
    assert turns["alarms"]["trials"] == sessions["alarms"]["trials"] == 4


def test_the_command_succeeds_when_all_is_within_bounds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "run", lambda chosen: ([row()], []))
    assert calibration.main([]) == 0
    assert capsys.readouterr().out.endswith("all within bounds\n")


@pytest.mark.parametrize(
    "options", [["--trials", "1"], ["--seed", "-1"], ["--machine", "none"], ["--trials", "x"]]
)
def test_the_command_refuses_what_it_cannot_do(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        calibration.main(options)
    assert caught.value.code == 2


@given(st.integers(2, 2000), st.integers(0, 5))
def test_every_trial_is_in_one_batch(trials: int, seed: int) -> None:
    batches = calibration.Work.of(trials, seed).batches
    seeds = [s for batch in batches for s in batch]
    assert seeds == list(range(seed * 1_000_000, seed * 1_000_000 + trials))
    assert all(0 < len(batch) <= calibration.BATCH for batch in batches)


# The procedure is right, and what is known to be wrong is wrong.


def may_be_within(rate: Rate, bounds: tuple[float, float]) -> bool:
    """Say whether so few trials leave it open that the true rate is within bounds."""
    low, high = rate.interval(0.99)
    return low <= bounds[1] and high >= bounds[0]


@pytest.mark.parametrize("name", MACHINES)
def test_the_comparison_is_calibrated(name: str) -> None:
    found = calibration.summarise(name, calibration.examine(name, SEEDS))
    assert may_be_within(found.alarms, calibration.ALARMS)
    assert may_be_within(found.coverage, calibration.COVERAGE)
    assert may_be_within(found.stopped[synthetic.LEAST], calibration.STOPPED_ALARMS)
    assert found.power.value > 0.7
    assert abs(found.bias) < calibration.BIAS


@pytest.mark.parametrize("name", ["ramp", "ar1", "dvfs-fast"])
def test_the_comparison_of_engines_is_calibrated(name: str) -> None:
    found = calibration.summarise(
        name, calibration.examine(name, SEEDS, order=synthetic.session_order)
    )
    assert may_be_within(found.alarms, calibration.ALARMS)
    assert may_be_within(found.coverage, calibration.COVERAGE)
    assert may_be_within(found.stopped[synthetic.LEAST], calibration.STOPPED_ALARMS)


@pytest.mark.parametrize("control", calibration.CONTROLS, ids=lambda c: c.name)
def test_what_is_wrong_is_seen_to_be_wrong(control: calibration.Control) -> None:
    found = calibration.Work([SEEDS]).control(control)
    assert list(found.faults()) == []
    assert abs(statistics.fmean(found.right)) < control.limit


def test_welch_errs_by_the_ramp_and_not_by_itself() -> None:
    alarms = calibration.welch("iid", SEEDS, synthetic.long_sequential_order)
    assert may_be_within(Rate.of([bool(a) for a in alarms]), calibration.ALARMS)


def test_one_order_of_creation_is_a_bias_that_no_number_of_groups_removes() -> None:
    truth = Truth(first_penalty=0.013)
    for groups in (4, 20):
        found = synthetic.compare("iid", range(30), truth, synthetic.one_sided_order, groups)
        assert statistics.fmean(e.ratio for e in found) == pytest.approx(1 / 1.013, abs=0.003)
        assert not any(e.between_groups for e in found)


def test_one_process_takes_the_difference_of_two_sessions_for_one_of_the_cases() -> None:
    truth = Truth(session_sd=0.01)
    alone = synthetic.compare("iid", range(100), truth, synthetic.long_order, groups=1)
    anew = synthetic.compare("iid", range(100), truth)
    assert sum(map(synthetic.differs, alone)) > 30
    assert sum(map(synthetic.differs, anew)) < 15
