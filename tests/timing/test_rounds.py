"""Sessions of several engines that take turns."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mvdeploy.errors import EngineError
from mvdeploy.records import Comparison, Job, JobModel, Plan, Warmup
from mvdeploy.stats.paired import of_sessions, ratio
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import measure
from mvdeploy.timing.rounds import spread
from tests.timing.test_measure import DEAD, MS, Heard, cases

PLAN = Plan(iterations=40, sessions=4, warmup=Warmup(iterations=3))
TIMED = Plan(warmup=Warmup(iterations=3))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def entries(*engines: str, **changes: Any) -> list[Entry]:
    return [
        Entry(f"c{i}", JobModel(engine, f"case{i}.onnx", f"sha{i}", {"x": "x.npy"}), **changes)
        for i, engine in enumerate(engines)
    ]


def engines_of(job: Job) -> set[str]:
    return {model.engine for model in job.models}


def jittered(sd: float, ns: Sequence[int]) -> Callable[[int, int, int], int]:
    """Times whose level differs from job to job, by so much."""

    def times(job: int, case: int, position: int) -> int:
        return int(ns[case] * (1 + random.Random(f"{job}/{case}").gauss(0, sd)))

    return times


def ratio_width(found: Comparison, heard: Heard) -> float:
    a, b = (heard.measurements(slug)[-1].sessions for slug in (found.a, found.b))
    return ratio(of_sessions(found.sessions, a, b), "cpu").half_width


def by_pair(found: Sequence[Comparison]) -> dict[tuple[str, str], Comparison]:
    return {(c.a, c.b): c for c in found}


def test_engines_never_share_a_process_and_take_turns(make_link: Any, heard: Heard) -> None:
    link = make_link()
    measure(entries("fast", "slow", "third"), link, PLAN, heard.listener)
    assert all(len(engines_of(job)) == 1 for job in link.jobs)
    order = [cases(job)[0] for job in link.jobs[3:]]
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert len(rounds) == 4
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert rounds[1] == rounds[0][::-1] and rounds[3] == rounds[2][::-1]
    told = [text for text, _ in heard.of("step") if "session" in text]
    assert sorted(told[:3]) == [f"{name}: session 1" for name in ("fast", "slow", "third")]


def test_numbers_of_threads_are_told_apart(make_link: Any, heard: Heard) -> None:
    one, two = entries("one", "one")
    swept = [dataclasses.replace(one, threads=1), dataclasses.replace(two, threads=2)]
    measure(swept, make_link(), PLAN, heard.listener)
    told = {text for text, _ in heard.of("step") if text.endswith("session 1")}
    assert told == {"one 1 thread: session 1", "one 2 threads: session 1"}


def test_the_first_is_held_against_each_other_one_of_its_group(
    make_link: Any, heard: Heard
) -> None:
    fp32, int8 = entries("fast", "slow", "third"), entries("fast", "slow", "third")
    int8 = [
        dataclasses.replace(
            e, slug=f"c{3 + i}", model=dataclasses.replace(e.model, path=f"case{3 + i}.onnx")
        )
        for i, e in enumerate(int8)
    ]
    asked = [dataclasses.replace(e, group="fp32") for e in fp32]
    asked += [dataclasses.replace(e, group="int8") for e in int8]
    made = by_pair(measure(asked, make_link(), PLAN, heard.listener))
    across = {pair for pair, c in made.items() if c.sessions}
    assert across == {("c0", "c1"), ("c0", "c2"), ("c3", "c4"), ("c3", "c5")}
    # Those of one engine take turns in its process, as ever.
    in_turns = {pair for pair, c in made.items() if c.groups}
    assert in_turns == {("c0", "c3"), ("c1", "c4"), ("c2", "c5")}


def test_pairs_are_sessions_of_one_round_in_both_orders(make_link: Any, heard: Heard) -> None:
    link = make_link()
    (found,) = measure(entries("fast", "slow"), link, PLAN, heard.listener)
    assert [(p.a, p.b) for p in found.sessions] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    told = [cases(job)[0] for job in link.jobs[2:]]
    for number, pair in enumerate(found.sessions):
        assert told[2 * number + pair.at_a] == 0
        assert told[2 * number + pair.at_b] == 1
    a, b = (heard.measurements(slug)[-1].sessions for slug in ("c0", "c1"))
    groups = of_sessions(found.sessions, a, b)
    assert sorted(group.first_created for group in groups) == [-1, -1, 1, 1]
    assert [group.a for group in groups] == [session.steady for session in a]


def test_the_measured_time_is_spread_over_as_many_sessions_as_groups() -> None:
    plan = spread(Plan(session_time_s=2.5, sessions=4, groups=9))
    assert plan.sessions == 10
    assert plan.session_time_s == pytest.approx(1.0)
    assert spread(PLAN) == PLAN


def test_steady_engines_stop_after_ten_rounds(make_link: Any, heard: Heard) -> None:
    link = make_link(inference_ns=[10 * MS] * 2, times=jittered(0.001, [10 * MS, 12 * MS]))
    (found,) = measure(entries("fast", "slow"), link, TIMED, heard.listener, clock=lambda: link.now)
    assert len(found.sessions) == 10
    sessions = [heard.measurements(slug)[-1].sessions for slug in ("c0", "c1")]
    assert [len(s.steady) for s in sessions[0]] == [100] * 10
    assert ratio(of_sessions(found.sessions, *sessions), "cpu").ratio == pytest.approx(1.2, 0.01)


def test_rounds_go_on_until_the_ratio_is_known(make_link: Any, heard: Heard) -> None:
    link = make_link(inference_ns=[10 * MS] * 2, times=jittered(0.02, [10 * MS] * 2))
    plan = dataclasses.replace(TIMED, max_time_s=600.0)
    (found,) = measure(entries("fast", "slow"), link, plan, heard.listener, clock=lambda: link.now)
    assert len(found.sessions) > 10 and len(found.sessions) % 2 == 0
    a, b = (heard.measurements(slug)[-1].sessions for slug in ("c0", "c1"))
    groups = of_sessions(found.sessions, a, b)
    widths = [ratio(groups[:n], "cpu").half_width for n in range(10, len(groups) + 1, 2)]
    assert all(width > 0.01 for width in widths[:-1])
    assert widths[-1] <= 0.01


def test_time_ends_rounds(make_link: Any, heard: Heard) -> None:
    link = make_link(inference_ns=[10 * MS] * 2, times=jittered(0.3, [10 * MS] * 2))
    plan = dataclasses.replace(TIMED, max_time_s=20.0)
    (found,) = measure(entries("fast", "slow"), link, plan, heard.listener, clock=lambda: link.now)
    # Of each engine 20 s of sessions are spent, with loading, which takes half a second.
    assert 10 <= len(found.sessions) <= 14
    assert ratio_width(found, heard) > 0.01


def test_an_engine_that_is_known_rests_while_others_go_on(make_link: Any, heard: Heard) -> None:
    calm, wild = jittered(0.0005, [10 * MS] * 3), jittered(0.03, [10 * MS] * 3)
    link = make_link(
        inference_ns=[10 * MS] * 3,
        times=lambda job, case, at: (wild if case == 2 else calm)(job, case, at),
    )
    found = by_pair(
        measure(
            entries("fast", "slow", "third"), link, TIMED, heard.listener, clock=lambda: link.now
        )
    )
    assert len(found["c0", "c1"].sessions) == 10
    assert len(found["c0", "c2"].sessions) > 10
    # The reference takes part as long as anything is held against it.
    assert len(heard.measurements("c0")[-1].sessions) == len(heard.measurements("c2")[-1].sessions)


def test_cases_of_one_engine_differ_in_threads(make_link: Any, heard: Heard) -> None:
    one, two = entries("fast", "fast")
    link = make_link()
    asked = [one, dataclasses.replace(two, threads=2)]
    (found,) = measure(asked, link, PLAN, heard.listener)
    assert all(len(job.models) == 1 for job in link.jobs)
    assert {(cases(job)[0], job.threads) for job in link.jobs if job.order} == {(0, 1), (1, 2)}
    assert len(found.sessions) == 4
    threads = [heard.measurements(slug)[-1].conditions["threads"] for slug in ("c0", "c1")]
    assert threads == [1, 2]


def test_when_the_reference_dies_the_others_are_held_against_the_next(
    make_link: Any, heard: Heard
) -> None:
    seen: list[int] = []

    def fault(job: Job, number: int) -> EngineError | None:
        if job.order and 0 in cases(job):
            seen.append(number)
        return DEAD if len(seen) > 2 and 0 in cases(job) else None

    link = make_link(fault=fault)
    found = by_pair(measure(entries("fast", "slow", "third"), link, PLAN, heard.listener))
    assert heard.failures() == {"c0": DEAD}
    lengths = {pair: len(c.sessions) for pair, c in found.items()}
    assert lengths == {("c0", "c1"): 2, ("c0", "c2"): 2, ("c1", "c2"): 2}


def test_an_engine_that_does_not_load_leaves_the_others(make_link: Any, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD if cases(job) == [1] else None)
    (found,) = measure(entries("fast", "slow", "third"), link, PLAN, heard.listener)
    assert (found.a, found.b) == ("c0", "c2")
    assert heard.failures() == {"c1": DEAD}


def test_nothing_that_runs_is_no_work(make_link: Any, heard: Heard) -> None:
    link = make_link(fault=lambda job, n: DEAD)
    assert measure(entries("fast", "slow"), link, TIMED, heard.listener) == ()
    assert len(link.jobs) == 2


def test_pairs_only_holds_all_engines_in_one_process(make_link: Any, heard: Heard) -> None:
    link = make_link()
    plan = dataclasses.replace(TIMED, pairs_only=True, max_time_s=5.0)
    (found,) = measure(entries("fast", "slow"), link, plan, heard.listener, clock=lambda: link.now)
    assert found.groups and not found.sessions


def test_every_round_is_told_so_that_nothing_is_lost(make_link: Any, heard: Heard) -> None:
    measure(entries("fast", "slow"), make_link(), PLAN, heard.listener)
    told = [c.sessions for c in heard.comparisons() if c.sessions]
    assert [len(sessions) for sessions in dict.fromkeys(told)] == [1, 2, 3, 4]


def test_work_on_other_threads_is_found(make_link: Any, heard: Heard) -> None:
    class Elsewhere(make_link):  # type: ignore[misc]
        def run(self, job: Job, *rest: Any) -> Any:
            result = super().run(job, *rest)
            wall = result.samples.wall_ns
            samples = dataclasses.replace(result.samples, cpu_ns=tuple(t // 3 for t in wall))
            return dataclasses.replace(result, samples=samples, usage={"run_delay_ns": self.delay})

    for delay, codes in ((0, ["cpu_time_elsewhere"]), (35 * 10 * MS, [])):
        heard = Heard()
        link = Elsewhere(times=lambda job, case, at: 10 * MS)
        link.delay = delay
        measure(entries("fast"), link, PLAN, heard.listener)
        assert [f.code for f in heard.measurements("c0")[-1].findings] == codes
