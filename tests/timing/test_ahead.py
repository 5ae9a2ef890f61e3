"""Sessions that are planned before anything is known of the device."""

from __future__ import annotations

import collections

import pytest

from mvdeploy.records import DeviceState, Job, JobModel, JobResult, ModelResult, Plan, Samples
from mvdeploy.timing import ahead
from mvdeploy.timing.case import Entry

PLAN = Plan(iterations=22, sessions=4, seed=3)
MODELS = tuple(JobModel("engine", f"models/{name}", name * 64, {}) for name in "abc")
STATE = DeviceState("2026-01-01T00:00:00+00:00", {})


def test_every_case_has_its_blocks_and_as_many_turns() -> None:
    planned = ahead.sessions(MODELS, PLAN)
    counts = [6, 6, 5, 5]
    assert [steady for _, steady in planned] == [3 * count for count in counts]
    for (job, steady), count in zip(planned, counts, strict=True):
        assert collections.Counter(job.order[:steady]) == dict.fromkeys(range(3), count)
        for start in range(steady, len(job.order), 3):  # each round has every case once
            assert {*job.order[start : start + 3]} == {0, 1, 2}
        assert len(job.order) == 2 * steady
        assert sorted(model.path for model in job.models) == [model.path for model in MODELS]
    created = [[model.path for model in job.models] for job, _ in planned]
    assert created[1] == created[0][::-1] and created[3] == created[2][::-1]


def test_the_seed_decides_and_a_case_alone_takes_no_turns() -> None:
    assert ahead.sessions(MODELS, PLAN) == ahead.sessions(MODELS, PLAN)
    other = Plan(iterations=22, sessions=4, seed=4)
    assert ahead.sessions(MODELS, PLAN) != ahead.sessions(MODELS, other)
    for job, steady in ahead.sessions(MODELS[:1], PLAN):
        assert len(job.order) == steady
    (probe,) = ahead.probes(MODELS[:1], PLAN, "outputs")
    assert (probe.order, probe.models[0].outputs_to) == ((), "outputs")


def result(job: Job, step_s: float, ms: dict[str, int], sums: str = "x") -> JobResult:
    """Return what a device with these milliseconds would tell."""

    def times(path: str, count: int) -> Samples:
        return Samples((ms[path] * 1_000_000,) * count, (0,) * count)

    models = tuple(
        ModelResult(1, times(m.path, 1), times(m.path, 3), 0, 0, sums, None) for m in job.models
    )
    wall = tuple(ms[job.models[index].path] * 1_000_000 for index in job.order)
    hello = {"clock": {"wall": {"implementation": "a clock", "resolution_s": step_s}}}
    return JobResult(hello, models, job.order, Samples(wall, (0,) * len(wall)), 0)


def gathered(step_s: float, sums: str = "x") -> ahead.Gathered:
    models = MODELS[:2]
    ms = {models[0].path: 40, models[1].path: 60}
    probes = ahead.probes(models, PLAN, "outputs")
    seen = [
        ahead.Seen(STATE.taken_at, job, steady, result(job, step_s, ms, sums))
        for job, steady in ahead.sessions(models, PLAN)
    ]
    entries = [Entry(model.path[-1], model) for model in models]
    probed = [result(job, step_s, ms) for job in probes]
    return ahead.gather(entries, probed, seen, PLAN, (STATE, STATE))


def test_samples_go_to_the_case_that_they_are_of() -> None:
    found = gathered(5e-6)
    for slug, ms in (("a", 40), ("b", 60)):
        measurement = found.measurements[slug]
        assert len(measurement.steady) == 22
        assert {*measurement.steady.wall_ns} == {ms * 1_000_000}
    (comparison,) = found.comparisons
    assert (comparison.a, comparison.b) == ("a", "b")
    for group in comparison.groups:
        assert {*group.a.wall_ns} == {40_000_000} and {*group.b.wall_ns} == {60_000_000}
    assert [order.counts() for order in found.orders] == [
        {"a": 2 * count, "b": 2 * count} for count in (6, 6, 5, 5)
    ]


@pytest.mark.parametrize(("step_s", "compared"), [(79e-6, True), (81e-6, False)])
def test_a_clock_with_fewer_steps_in_an_inference_compares_nothing(
    step_s: float, compared: bool
) -> None:
    """40 ms are 500 steps of 80 µs."""
    found = gathered(step_s)
    assert (bool(found.comparisons), bool(found.orders)) == (compared, compared)
    assert found.step_ns == pytest.approx(1e9 * step_s)
    assert found.shares["a"] == pytest.approx(step_s / 0.04)
    assert len(found.measurements["a"].steady) == 22


def test_other_outputs_in_a_session_are_found() -> None:
    (finding,) = gathered(5e-6, sums="y").measurements["a"].findings
    assert (finding.code, finding.values) == ("outputs_differ", {"session": 1, "count": 4})
