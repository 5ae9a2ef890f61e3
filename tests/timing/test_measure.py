from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.links import RunnerFailed
from mvdeploy.records import (
    Comparison,
    Job,
    JobModel,
    Level,
    Measurement,
    Plan,
    SessionOrder,
    Warmup,
)
from mvdeploy.stats.interval import median_interval
from mvdeploy.stats.paired import ratio
from mvdeploy.timing.case import Entry, by_engine
from mvdeploy.timing.measure import Listener, measure

MS = 1_000_000
DEAD = RunnerFailed("The runner was killed by SIGSEGV.", "Report it.")
PLAN = Plan(iterations=40, sessions=4, warmup=Warmup(iterations=3))


@dataclasses.dataclass
class Heard:
    """Everything a listener was told, in order."""

    calls: list[tuple[str, str, object]] = dataclasses.field(default_factory=list)

    @property
    def listener(self) -> Listener:
        return Listener(
            measured=lambda slug, found: self.calls.append(("measured", slug, found)),
            failed=lambda slug, error: self.calls.append(("failed", slug, error)),
            step=lambda text: self.calls.append(("step", text, None)),
            compared=lambda found: self.calls.append(("compared", "", found)),
            loaded=lambda slug, result: self.calls.append(("loaded", slug, result)),
            ordered=lambda order: self.calls.append(("ordered", "", order)),
        )

    def comparisons(self) -> list[Comparison]:
        """The first pair at every time it was told of."""
        return [c[0] for _, c in self.of("compared") if isinstance(c, tuple) and c]

    def of(self, kind: str) -> list[tuple[str, object]]:
        return [(slug, what) for name, slug, what in self.calls if name == kind]

    def measurements(self, slug: str) -> list[Measurement]:
        return [m for s, m in self.of("measured") if s == slug and isinstance(m, Measurement)]

    def failures(self) -> dict[str, object]:
        return dict(self.of("failed"))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def cases(job: Job) -> list[int]:
    return [int(model.path[4:-5]) for model in job.models]


def joint(job: Job) -> bool:
    return len(job.models) > 1


# The plain way


def test_every_case_is_probed_alone_first(make_link, make_entries, heard: Heard) -> None:
    link, plan = make_link(), dataclasses.replace(PLAN, threads=3, cores=(1, 2))
    entries = make_entries(3)
    measure(entries, link, plan, heard.listener)
    probes, alone, sessions = link.jobs[:6:2], link.jobs[1:6:2], link.jobs[6:]
    assert [job.models for job in probes] == [
        (dataclasses.replace(entry.model, outputs_to=f"/scratch/outputs-{entry.slug}"),)
        for entry in entries
    ]
    # With one thread, to see whether it computes the same.
    assert [job.models for job in alone] == [(entry.model,) for entry in entries]
    assert {(job.threads, job.cores, job.warmup) for job in alone} == {(1, (1, 2), Warmup(0))}
    assert all(job.order == () for job in (*probes, *alone))
    assert len(sessions) == 4
    assert all(sorted(cases(job)) == [0, 1, 2] for job in sessions)
    assert {model.outputs_to for job in sessions for model in job.models} == {None}
    for job in (*probes, *sessions):
        assert (job.threads, job.cores, job.warmup) == (3, (1, 2), PLAN.warmup)
    found = heard.measurements("c1")[-1]
    assert (found.load_ns, found.first.wall_ns) == (101, (2 * MS,))
    assert (found.peak_memory_bytes, found.baseline_memory_bytes) == (1003, 10)


def test_settings_of_the_device_take_turns(make_link, make_entries, heard: Heard) -> None:
    """Cases of one setting share sessions, and are compared with each other only."""
    link, taken = make_link(), []
    link.take = lambda setting: taken.append((setting, len(link.jobs)))
    names = ("fixed", "free")
    both = [dataclasses.replace(e, setting=names[i % 2]) for i, e in enumerate(make_entries(4))]
    found = measure(both, link, PLAN, heard.listener)
    first = len(both)  # each is loaded once, as with one thread nothing is to be compared
    assert [cases(job) for job in link.jobs[:first]] == [[0], [2], [1], [3]]
    sessions = [sorted(cases(job)) for job in link.jobs[first:]]
    assert sessions == [[0, 2], [1, 3]] * PLAN.sessions
    # It is set before each, not after.
    turns = [(names[i % 2], first + i) for i in range(len(sessions))]
    assert taken == [("fixed", 0), ("free", 2), *turns]
    assert [(c.a, c.b) for c in found] == [("c0", "c2"), ("c1", "c3")]
    for slug in ("c0", "c1", "c2", "c3"):
        assert len(heard.measurements(slug)[-1].sessions) == PLAN.sessions


def test_a_setting_without_a_case_that_runs_costs_nothing(make_link, make_entries, heard) -> None:
    link = make_link(fault=lambda job, _: DEAD if 1 in cases(job) else None)
    first, second = make_entries(2)
    both = [first, dataclasses.replace(second, setting="free")]
    measure(both, link, PLAN, heard.listener)
    assert list(heard.failures()) == ["c1"]
    assert len(heard.measurements("c0")[-1].sessions) == PLAN.sessions


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 60),
    st.integers(1, 7),
    st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    st.integers(0, 9),
)
def test_the_number_of_iterations_is_exact(
    make_link, make_entries, iterations: int, sessions: int, times: list[int], seed: int
) -> None:
    heard = Heard()
    link = make_link(inference_ns=[ms * MS for ms in times])
    plan = dataclasses.replace(PLAN, iterations=iterations, sessions=sessions, seed=seed)
    measure(make_entries(len(times)), link, plan, heard.listener)
    for case in range(len(times)):
        found = heard.measurements(f"c{case}")[-1]
        assert len(found.sessions) == sessions
        assert len(found.steady) == iterations
        # CPU times carry the case: no sample is another case's.
        assert set(found.steady.cpu_ns) <= {case}
        for session in found.sessions:
            assert session.load_ns == 100 + case
            assert set(session.warmup.cpu_ns) == {case}


def test_time_decides_where_iterations_do_not(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[2 * MS, 500 * MS])
    plan = dataclasses.replace(PLAN, iterations=None, session_time_s=2.0, groups=4, max_time_s=0.0)
    measure(make_entries(2), link, plan, heard.listener)
    lengths = [[len(s.steady) for s in heard.measurements(f"c{i}")[-1].sessions] for i in (0, 1)]
    assert lengths == [[1000] * 4, [4] * 4]


def test_a_very_slow_case_still_runs(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[90_000 * MS])
    plan = dataclasses.replace(PLAN, iterations=None, session_time_s=0.25, max_time_s=0.0)
    measure(make_entries(1), link, plan, heard.listener)
    assert len(heard.measurements("c0")[-1].steady) == 4


def test_samples_are_heard_of_after_every_session(make_link, make_entries, heard: Heard) -> None:
    measure(make_entries(2), make_link(), PLAN, heard.listener)
    for slug in ("c0", "c1"):
        found = heard.measurements(slug)
        assert [len(m.sessions) for m in found] == [1, 2, 3, 4, 4]
        assert [m.sessions for m in found] == [found[-1].sessions[:i] for i in (1, 2, 3, 4, 4)]
        assert len({m.before.taken_at for m in found}) == 1
        assert all(m.findings == () for m in found)
    kinds = [kind for kind, _, _ in heard.calls]
    told = ["measured", "measured", "compared"]
    assert kinds == ["step", "loaded"] * 2 + ["step", "ordered", *told] * 4 + told
    assert [len(c.groups) for c in heard.comparisons()] == [1, 2, 3, 4, 4]
    assert not heard.failures()


def test_the_last_state_is_that_of_the_end(make_link, make_entries, heard: Heard) -> None:
    link = make_link()
    measure(make_entries(2), link, PLAN, heard.listener, clock=lambda: link.now)
    # Jobs take half a second each, and a state holds for five: first probes, start, end.
    assert link.states == 4
    assert heard.measurements("c0")[-1].after.taken_at == "4"
    assert [s.usage["run_delay_ns"] for s in heard.measurements("c0")[-1].sessions] == [3, 4, 5, 6]


def test_conditions_say_what_ran(make_link, make_entries, heard: Heard) -> None:
    measure(make_entries(2), make_link(), PLAN, heard.listener)
    assert heard.measurements("c1")[-1].conditions == {
        "engine": "fast",
        "engine_version": "7.1",
        "engine_options": ("spinning=off",),
        "runner": "fake 1",
        "threads": 1,
        "cores": ("0", "3"),
        "clock": "ticks",
        "clock_resolution_s": 1e-9,
        "artifact_sha256": "sha1",
        "output_sha256": "out1",
    }


def test_what_runners_of_browsers_tell_beside(make_link, make_entries, heard: Heard) -> None:
    hello = {
        "engines": {"fast": "7.1"},
        "engine_sha256": {"fast": "3f" * 32},
        "clock": {
            "wall": {"implementation": "ticks", "resolution_s": 5e-6},
            "cpu": {"implementation": "ProcessTime of DevTools", "resolution_s": 0.01},
        },
    }
    measure(make_entries(1), make_link(hello=hello), PLAN, heard.listener)
    conditions = heard.measurements("c0")[-1].conditions
    assert conditions["engine_sha256"] == "3f" * 32
    assert conditions["clock_resolution_s"] == 5e-6
    assert conditions["cpu_clock"] == "ProcessTime of DevTools"
    assert conditions["cpu_clock_resolution_s"] == 0.01


def test_what_was_chosen_for_the_engine_has_one_condition(make_link, make_entries, heard) -> None:
    (entry,) = make_entries(1)
    model = dataclasses.replace(entry.model, options={"spinning": "off", "units": "all"})
    measure([dataclasses.replace(entry, model=model)], make_link(), PLAN, heard.listener)
    conditions = heard.measurements("c0")[-1].conditions
    assert conditions["chosen_options"] == ("spinning=off", "units=all")
    assert {"spinning", "units"}.isdisjoint(conditions)


def test_what_a_runner_does_not_tell_is_unavailable(make_link, make_entries, heard: Heard) -> None:
    measure(make_entries(1), make_link(hello={}), PLAN, heard.listener)
    conditions = heard.measurements("c0")[-1].conditions
    for key in (
        "engine_version",
        "engine_options",
        "runner",
        "cores",
        "clock",
        "clock_resolution_s",
    ):
        assert conditions[key] == "unavailable"


# The order


def test_the_order_of_every_session_is_told(make_link, make_entries, heard: Heard) -> None:
    *entries, anchor = make_entries(3)
    link = make_link(inference_ns=[10 * MS, 20 * MS, MS])
    measure(entries, link, PLAN, heard.listener, [anchor])
    told = [order for _, order in heard.of("ordered") if isinstance(order, SessionOrder)]
    assert [order.number for order in told] == [0, 1, 2, 3]
    for order, job in zip(told, link.jobs[3:], strict=True):
        assert order.created == tuple(f"c{case}" for case in cases(job))
        assert order.created[-1] == "c2"
        assert [i for i, count in order.order for _ in range(count)] == list(job.order)
        assert len(order.order) < len(job.order)
        assert datetime.datetime.fromisoformat(order.started_at).utcoffset() == datetime.timedelta()


# Pairs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 9))
def test_pairs_are_turns_of_one_round(
    make_link, make_entries, count: int, iterations: int, seed: int
) -> None:
    link = make_link(inference_ns=[(case + 1) * 40 * MS for case in range(count)])
    plan = dataclasses.replace(PLAN, iterations=iterations, seed=seed)
    made = measure(make_entries(count), link, plan, Heard().listener)
    assert [(c.a, c.b) for c in made] == [("c0", f"c{i}") for i in range(1, count)]
    sessions = link.jobs[count:]
    for case, comparison in enumerate(made, start=1):
        groups = iter(comparison.groups)
        for number, job in enumerate(sessions):
            per_session = iterations // 4 + (number < iterations % 4)
            if not per_session:
                continue  # no turns, so no pairs
            group = next(groups)
            assert len(group.a) == len(group.b) == per_session
            assert set(group.a.cpu_ns) == {0}
            assert set(group.b.cpu_ns) == {case}
            # Wall times carry the position in the job's order.
            steady = len(job.order) - per_session * count
            rounds = [[(p - steady) // count for p in s.wall_ns] for s in (group.a, group.b)]
            assert rounds == [list(range(per_session))] * 2
            positions = cases(job)
            assert group.first_created == (1 if positions.index(0) < positions.index(case) else -1)
        assert next(groups, None) is None


def test_every_case_is_created_first_as_often_as_last(
    make_link, make_entries, heard: Heard
) -> None:
    made = measure(make_entries(3), make_link(), PLAN, heard.listener)
    for comparison in made:
        assert sorted(group.first_created for group in comparison.groups) == [-1, -1, 1, 1]
    for slug in ("c0", "c1", "c2"):
        created = [s.created for s in heard.measurements(slug)[-1].sessions]
        assert [a + b for a, b in zip(created[::2], created[1::2], strict=True)] == [2, 2]


def test_steady_samples_are_not_turns(make_link, make_entries, heard: Heard) -> None:
    link = make_link()
    made = measure(make_entries(2), link, PLAN, heard.listener)
    for case, slug in enumerate(("c0", "c1")):
        for session, group in zip(
            heard.measurements(slug)[-1].sessions, made[0].groups, strict=True
        ):
            turns = (group.a, group.b)[case].wall_ns
            assert max(session.steady.wall_ns) < 20 <= min(turns)


def test_one_case_has_no_pairs_and_no_turns(make_link, make_entries, heard: Heard) -> None:
    link = make_link()
    assert measure(make_entries(1), link, PLAN, heard.listener) == ()
    assert [len(job.order) for job in link.jobs] == [0, 10, 10, 10, 10]


def test_no_case_is_no_work(make_link, heard: Heard) -> None:
    link = make_link()
    assert measure([], link, PLAN, heard.listener) == ()
    assert link.jobs == []


def test_the_seed_decides_the_order(make_link, make_entries) -> None:
    def orders(seed: int) -> list[tuple[int, ...]]:
        link = make_link(inference_ns=[50 * MS] * 3)
        plan = dataclasses.replace(PLAN, seed=seed)
        measure(make_entries(3), link, plan, Heard().listener)
        return [job.order for job in link.jobs]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    sessions = orders(1)[3:]
    assert len(set(sessions)) == 4


# When to stop


TIMED = Plan(warmup=Warmup(iterations=3), session_time_s=2.5, max_time_s=60.0)


def noisy(spread: float, ns: Sequence[int] = (10 * MS, 10 * MS)) -> Callable[[int, int, int], int]:
    """Times whose level changes from session to session, the same way for all cases."""

    def times(job: int, case: int, position: int) -> int:
        level = 1 + spread * (-1) ** (job // 2)
        return int(ns[case] * level * (1 + 0.001 * random.Random(f"{job}/{position}").random()))

    return times


def measured_s(found: Measurement) -> float:
    return sum(found.steady.wall_ns) / 1e9


def test_a_steady_case_stops_after_ten_seconds(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[10 * MS], times=noisy(0.0))
    measure(make_entries(1), link, TIMED, heard.listener, clock=lambda: link.now)
    found = heard.measurements("c0")[-1]
    assert len(found.sessions) == 4
    assert 9.9 < measured_s(found) < 10.1


def test_a_case_that_wanders_goes_on_to_the_limit(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[10 * MS], times=noisy(0.05))
    measure(make_entries(1), link, TIMED, heard.listener, clock=lambda: link.now)
    assert 50 < measured_s(heard.measurements("c0")[-1]) < 60.5


def test_a_case_that_will_not_be_known_in_time_stops_early(
    make_link, make_entries, heard: Heard
) -> None:
    link = make_link(inference_ns=[10 * MS], times=noisy(0.3))
    measure(make_entries(1), link, TIMED, heard.listener, clock=lambda: link.now)
    found = heard.measurements("c0")[-1]
    assert 7 < measured_s(found) < 13  # what is slow in half of its sessions and fast in others
    interval = median_interval([s.steady.wall_ns for s in found.sessions])
    assert interval is not None and interval.half_width_relative > TIMED.target


def test_a_case_stops_as_soon_as_its_interval_is_narrow(
    make_link, make_entries, heard: Heard
) -> None:
    link = make_link(inference_ns=[10 * MS], times=noisy(0.04))
    measure(make_entries(1), link, TIMED, heard.listener, clock=lambda: link.now)
    widths = [
        interval.half_width_relative
        for m in heard.measurements("c0")[3:-1]
        if (interval := median_interval([s.steady.wall_ns for s in m.sessions]))
    ]
    assert len(widths) > 1
    assert all(width > 0.02 for width in widths[:-1])
    assert widths[-1] <= 0.02


def test_only_the_case_that_wanders_gets_more_blocks(make_link, make_entries, heard: Heard) -> None:
    wild = noisy(0.05)
    link = make_link(
        inference_ns=[10 * MS] * 2,
        times=lambda job, case, at: wild(job, case, at) if case else 10 * MS + at % 7,
    )
    measure(make_entries(2), link, TIMED, heard.listener, clock=lambda: link.now)
    calm, moved = (heard.measurements(slug)[-1] for slug in ("c0", "c1"))
    assert [len(s.steady) for s in calm.sessions][:5] == [250, 250, 250, 250, 0]
    assert len(calm.sessions) == len(moved.sessions)
    assert measured_s(moved) > 50


def test_turns_go_on_until_the_ratio_is_known(make_link, make_entries, heard: Heard) -> None:
    # The ratio itself differs from group to group.
    def times(job: int, case: int, at: int) -> int:
        jitter = random.Random(f"{job}/{case}").gauss(0, 0.015)
        return int(10 * MS * (1 + jitter))

    link = make_link(inference_ns=[10 * MS] * 2, times=times)
    plan = dataclasses.replace(TIMED, pairs_only=True, groups=6)
    (found,) = measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now)
    assert len(found.groups) > 6
    assert len(found.groups) % 2 == 0
    orders = [group.first_created for group in found.groups]
    assert sum(orders) == 0
    half = [ratio(found.groups[:n], "cpu").half_width for n in range(6, len(found.groups) + 1, 2)]
    assert all(width > 0.01 for width in half[:-1])
    assert half[-1] <= 0.01 or link.now > 55
    # Neither case has a latency of its own.
    assert all(len(heard.measurements(slug)[-1].steady) == 0 for slug in ("c0", "c1"))


def test_turns_end_with_the_time(make_link, make_entries, heard: Heard) -> None:
    def times(job: int, case: int, at: int) -> int:
        return int(10 * MS * (1 + random.Random(f"{job}/{case}").gauss(0, 0.3)))

    link = make_link(inference_ns=[10 * MS] * 2, times=times)
    plan = dataclasses.replace(TIMED, pairs_only=True, max_time_s=30.0)
    measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now)
    assert 24 < link.now < 31.5  # two probes of half a second come before


def test_time_ends_turns_before_there_are_as_many_groups_as_planned(
    make_link, make_entries, heard: Heard
) -> None:
    link = make_link(inference_ns=[10 * MS] * 2, times=noisy(0.0))
    plan = dataclasses.replace(TIMED, pairs_only=True, max_time_s=13.0)
    (found,) = measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now)
    # A group takes 1.5 s: of ten that are planned, eight fit, in pairs.
    assert len(found.groups) == 8
    link = make_link(inference_ns=[10 * MS] * 2, times=noisy(0.0))
    plan = dataclasses.replace(plan, max_time_s=0.1)
    (found,) = measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now)
    assert len(found.groups) == 4


def test_pairs_need_two_that_run(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if cases(job) == [1] else None)
    plan = dataclasses.replace(TIMED, pairs_only=True)
    assert measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now) == ()
    assert heard.failures() == {"c1": DEAD}
    assert len(link.jobs) == 2


def test_pairs_that_cannot_take_turns_end_at_once(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if joint(job) else None)
    plan = dataclasses.replace(TIMED, pairs_only=True)
    assert measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now) == ()
    assert [f.code for f in heard.measurements("c0")[-1].findings] == ["not_interleaved"]


def test_fast_cases_take_turns_of_25_ms(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[MS // 4, 5 * MS])
    plan = dataclasses.replace(TIMED, pairs_only=True, max_time_s=0.0)
    (found,) = measure(make_entries(2), link, plan, heard.listener, clock=lambda: link.now)
    for group in found.groups:
        assert (group.block_a, group.block_b) == (100, 5)
        assert len(group.a) // 100 == len(group.b) // 5 == 20


def test_models_are_warmed_up_in_random_order(make_link, make_entries, heard: Heard) -> None:
    link = make_link()
    measure(make_entries(3), link, PLAN, heard.listener)
    orders = [job.warmup_order for job in link.jobs[3:]]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(set(orders)) > 1


# The anchor


def test_the_anchor_runs_between_the_blocks(make_link, make_entries, heard: Heard) -> None:
    *entries, anchor = make_entries(3)
    link = make_link(inference_ns=[10 * MS, 20 * MS, MS], times=lambda j, case, at: case * MS + 1)
    measure(entries, link, TIMED, heard.listener, [anchor], clock=lambda: link.now)
    first = link.jobs[3]
    assert cases(first)[-1] == 2
    assert sorted(first.warmup_order) == [0, 1, 2]
    steady = {slug: heard.measurements(slug)[-1].sessions for slug in ("c0", "c1")}
    for slug, ms in (("c0", 10), ("c1", 20)):
        for session in steady[slug][:4]:
            assert set(session.anchor.wall_ns) == {2 * MS + 1}
            # 250 ms of the case, then 25 ms of the anchor.
            assert len(session.anchor) == pytest.approx(len(session.steady) * ms * 0.1, rel=0.05)
    assert "c2" not in {slug for slug, _ in heard.of("measured")}


def test_an_anchor_that_fails_leaves_the_cases(make_link, make_entries, heard: Heard) -> None:
    *entries, anchor = make_entries(3)
    link = make_link(fault=lambda job, n: DEAD if 2 in cases(job) else None)
    measure(entries, link, PLAN, heard.listener, [anchor])
    assert not heard.failures()
    found = heard.measurements("c1")[-1]
    assert len(found.steady) == 40
    assert [f.code for f in found.findings] == ["anchor_failed"]


# Failures


def test_a_case_that_does_not_load_leaves_the_others(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if cases(job) == [1] else None)
    made = measure(make_entries(3), link, PLAN, heard.listener)
    assert heard.failures() == {"c1": DEAD}
    assert heard.measurements("c1") == []
    assert [len(heard.measurements(s)[-1].steady) for s in ("c0", "c2")] == [40, 40]
    assert [(c.a, c.b) for c in made] == [("c0", "c2")]
    assert all(sorted(cases(job)) == [0, 2] for job in link.jobs[3:])


def crash(culprit: int, session: int) -> Callable[[Job, int], MvdeployError | None]:
    """The culprit takes every runner down that has it, from a session on; probes are fine."""
    seen: list[int] = []

    def fault(job: Job, number: int) -> MvdeployError | None:
        if job.order and joint(job):
            seen.append(number)
        return DEAD if culprit in cases(job) and job.order and len(seen) > session else None

    return fault


def test_a_crash_is_traced_to_its_case(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=crash(1, session=2))
    made = measure(make_entries(3), link, PLAN, heard.listener)
    assert heard.failures() == {"c1": DEAD}
    # What the culprit had before stays.
    assert [len(m.sessions) for m in heard.measurements("c1")] == [1, 2]
    for slug in ("c0", "c2"):
        found = heard.measurements(slug)[-1]
        assert len(found.steady) == 40
        (finding,) = found.findings
        assert (finding.code, finding.level, finding.values) == (
            "not_interleaved",
            Level.WARNING,
            {"session": 3},
        )
    # Session 3 was tried together, then each alone; session 4 goes without the culprit.
    tried = [sorted(cases(job)) for job in link.jobs[3:]]
    assert tried == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0], [1], [2], [0, 2]]
    groups = {(c.a, c.b): len(c.groups) for c in made}
    assert groups == {("c0", "c1"): 2, ("c0", "c2"): 3}


def test_when_the_reference_dies_the_next_case_takes_its_place(
    make_link, make_entries, heard: Heard
) -> None:
    link = make_link(fault=crash(0, session=1))
    made = measure(make_entries(3), link, PLAN, heard.listener)
    assert heard.failures() == {"c0": DEAD}
    groups = {(c.a, c.b): len(c.groups) for c in made}
    assert groups == {("c0", "c1"): 1, ("c0", "c2"): 1, ("c1", "c2"): 2}
    (last,) = [c for c in made if c.a == "c1"]
    for group in last.groups:
        assert (set(group.a.cpu_ns), set(group.b.cpu_ns)) == ({1}, {2})


def test_cases_that_only_fail_together_all_go_on(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if joint(job) else None)
    assert measure(make_entries(2), link, PLAN, heard.listener) == ()
    assert not heard.failures()
    for slug in ("c0", "c1"):
        found = heard.measurements(slug)[-1]
        assert len(found.steady) == 40
        assert [f.values["session"] for f in found.findings] == [1, 2, 3, 4]


def test_when_the_last_case_dies_the_work_ends(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if n >= 3 else None)
    measure(make_entries(1), link, PLAN, heard.listener)
    assert heard.failures() == {"c0": DEAD}
    assert [len(m.sessions) for m in heard.measurements("c0")] == [1, 2]
    assert len(link.jobs) == 4


def test_each_failure_is_told_once(make_link, make_entries, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD)
    assert measure(make_entries(3), link, PLAN, heard.listener) == ()
    assert [slug for slug, _ in heard.of("failed")] == ["c0", "c1", "c2"]
    assert heard.of("measured") == []


def test_a_device_that_is_gone_ends_everything(make_link, make_entries, heard: Heard) -> None:
    gone = DeviceUnavailable("It was unplugged.", "Plug it in.")
    link = make_link(fault=lambda job, n: gone if n == 4 else None)
    with pytest.raises(DeviceUnavailable):
        measure(make_entries(2), link, PLAN, heard.listener)
    assert len(heard.measurements("c0")[-1].sessions) == 2
    assert not heard.failures()


def test_an_interruption_is_not_a_failure_of_a_case(make_link, make_entries, heard: Heard) -> None:
    def stop(job: Job, number: int) -> MvdeployError | None:
        if number == 3:
            raise KeyboardInterrupt
        return None

    with pytest.raises(KeyboardInterrupt):
        measure(make_entries(2), make_link(fault=stop), PLAN, heard.listener)
    assert len(heard.measurements("c1")) == 1
    assert not heard.failures()


# Limits


def test_a_given_limit_is_kept_to(make_link, make_entries, heard: Heard) -> None:
    link = make_link()
    measure(make_entries(2), link, dataclasses.replace(PLAN, time_limit_s=7.5), heard.listener)
    assert set(link.limits) == {7.5}


def test_a_limit_leaves_room_for_what_is_expected(make_link, make_entries, heard: Heard) -> None:
    link = make_link(inference_ns=[3000 * MS, 100 * MS])
    measure(make_entries(2), link, PLAN, heard.listener)
    for job, limit in zip(link.jobs[2:], link.limits[2:], strict=True):
        seconds = sum(3 if cases(job)[i] == 0 else 0.1 for i in job.order)
        assert limit > 5 * seconds + 30


def test_engines_are_measured_apart() -> None:
    def entry(slug: str, engine: str) -> Entry:
        return Entry(slug, JobModel(engine, "", "", {}))

    made = [entry("a", "x"), entry("b", "y"), entry("c", "x"), entry("d", "y")]
    groups = [[e.slug for e in group] for group in by_engine(made)]
    assert groups == [["a", "c"], ["b", "d"]]
    assert by_engine([]) == []
