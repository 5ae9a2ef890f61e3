from __future__ import annotations

import dataclasses

import pytest

from mvdeploy.errors import EngineError
from mvdeploy.links import RunnerFailed
from mvdeploy.records import Plan
from mvdeploy.timing.profile import profile

PLAN = Plan(profile_iterations=30, threads=2, cores=(1,))


def test_profiled_and_plain_inferences_take_turns(make_link, make_entries) -> None:
    link, (entry,) = make_link(), make_entries(1)
    found = profile([entry], link, PLAN)["c0"]
    (job,) = link.jobs
    plain, profiled = job.models
    assert plain == entry.model
    assert profiled == dataclasses.replace(entry.model, profile_to="/scratch/profile-c0")
    assert (job.threads, job.cores) == (2, (1,))
    pairs = list(zip(job.order[::2], job.order[1::2], strict=True))
    assert len(pairs) == 30
    assert all(sorted(pair) == [0, 1] for pair in pairs)
    assert 5 < sum(pair == (0, 1) for pair in pairs) < 25  # in random order
    assert found.path == "/scratch/profile-c0/profile.json"
    assert found.runs == 30
    # Wall times carry the position in the order.
    assert found.plain_ns == tuple(i for i, model in enumerate(job.order) if model == 0)
    assert found.profiled_ns == tuple(i for i, model in enumerate(job.order) if model == 1)


def test_the_seed_decides_the_turns(make_link, make_entries) -> None:
    orders = []
    for seed in (1, 1, 2):
        link = make_link()
        profile(make_entries(1), link, dataclasses.replace(PLAN, seed=seed))
        orders.append(link.jobs[0].order)
    assert orders[0] == orders[1] != orders[2]


def test_an_engine_without_a_profile_gives_nothing(make_link, make_entries) -> None:
    assert profile(make_entries(2), make_link(profile_name=None), PLAN) == {}


def test_a_failed_job_is_an_engine_error(make_link, make_entries) -> None:
    dead = RunnerFailed("It died.", "Mend it.")
    with pytest.raises(EngineError, match="It died"):
        profile(make_entries(1), make_link(fault=lambda job, n: dead), PLAN)


def test_limits(make_link, make_entries) -> None:
    link, (entry,) = make_link(), make_entries(1)
    profile([entry], link, PLAN, 12.0)
    profile([entry], link, dataclasses.replace(PLAN, time_limit_s=3.0), 12.0)
    assert link.limits == [12, 3]


def test_cases_to_be_compared_take_turns_in_one_job(make_link, make_entries) -> None:
    link = make_link()
    found = profile(make_entries(2), link, PLAN)
    (job,) = link.jobs
    assert [model.path for model in job.models] == ["case0.onnx"] * 2 + ["case1.onnx"] * 2
    assert [bool(model.profile_to) for model in job.models] == [False, True] * 2
    rounds = [job.order[i : i + 4] for i in range(0, len(job.order), 4)]
    assert len(rounds) == 30
    assert all(sorted(turn) == [0, 1, 2, 3] for turn in rounds)
    assert len(set(rounds)) > 5
    for case, slug in enumerate(("c0", "c1")):
        assert found[slug].path == f"/scratch/profile-{slug}/profile.json"
        # Wall times carry the position in the order.
        assert all(job.order[t] == 2 * case + 1 for t in found[slug].profiled_ns)
        assert all(job.order[t] == 2 * case for t in found[slug].plain_ns)
        assert len(found[slug].profiled_ns) == len(found[slug].plain_ns) == 30


def test_cases_of_another_setting_are_profiled_in_it(make_link, make_entries) -> None:
    link, taken = make_link(), []
    link.take = lambda setting: taken.append((setting, len(link.jobs)))
    names = ("fixed", "free")
    both = [dataclasses.replace(e, setting=names[i % 2]) for i, e in enumerate(make_entries(4))]
    assert list(profile(both, link, PLAN)) == ["c0", "c2", "c1", "c3"]
    assert taken == [("fixed", 0), ("free", 1)]
    assert [len(job.models) for job in link.jobs] == [4, 4]
