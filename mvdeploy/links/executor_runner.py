"""A user's own ``executor_runner`` of ExecuTorch, made to speak the runner's contract.

It feeds ones, has no warm-up of its own, knows neither CPU times nor memory nor what came out, and
runs one file. Its first iterations are the first inference and the warm-up here. Numbers that it
does not tell are zero, which reports show as not known. On Android it writes to the system's log.
"""

from __future__ import annotations

import collections
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

from mvdeploy.errors import EngineError
from mvdeploy.records import UNAVAILABLE, Job, JobModel

ENGINE = "executorch"
PROFILE = "executorch.etdp"

_WARMUP = 10
"""Warm-up inferences where the job leaves it to the runner when it is warm."""

_ITERATION = re.compile(r"Iteration (\d+) of (\d+): ([0-9.]+) ms")
_LOADED = re.compile(r"Model loaded in ([0-9.]+) ms")

Run = Callable[[list[str]], str]
"""Runs the program with arguments, and returns all that it wrote."""


def events(job: Job, run: Run) -> Iterator[dict[str, Any]]:
    """Do a job, and give the runner's events.

    Raises:
        EngineError: the job is for another engine or chooses an option, its models would have to
            take turns, or the program does not tell its times.
    """
    _check(job)
    yield {
        "event": "hello",
        "runner": "executor_runner",
        "pid": 0,
        "engines": {ENGINE: UNAVAILABLE},
        "engine_options": {ENGINE: {"num_threads": job.threads}},
        "cores": list(job.cores),
        "clock": {},
    }
    counts = collections.Counter(job.order)
    done = [_measured(job, model, counts[i], run) for i, model in enumerate(job.models)]
    for i, (load_ns, _) in enumerate(done):
        memory = {"memory_before": 0, "memory_after": 0}
        yield {"event": "loaded", "model": i, "load_ns": load_ns, **memory}
    warm = _warmup(job)
    for i, (_, times) in enumerate(done):
        yield {"event": "first", "model": i, **_samples(times[:1])}
        yield {"event": "warmup", "model": i, **_samples(times[1 : 1 + warm])}
    left = [iter(times[1 + warm :]) for _, times in done]
    yield {"event": "samples", "start": 0, **_samples([next(left[i]) for i in job.order])}
    for i, model in enumerate(job.models):
        unknown: dict[str, Any] = {"sha256": UNAVAILABLE, "shape": {}, "finite": None, "files": {}}
        yield {"event": "output", "model": i, **unknown, "memory": 0}
        if model.profile_to is not None:
            yield {"event": "profile", "model": i, "path": _profile(model)}
    yield {"event": "done", "peak_memory": 0}


def _check(job: Job) -> None:
    others = [model.engine for model in job.models if model.engine != ENGINE]
    if others:
        raise EngineError(
            f"The program given with --runner runs ExecuTorch, not {others[0]}.",
            "Add --format executorch, or leave --runner out.",
        )
    chosen = [option for model in job.models for option in model.options]
    if chosen:
        raise EngineError(
            f"The program given with --runner has no option '{chosen[0]}'.",
            "Leave the option out, or leave --runner out.",
        )
    if len({model.path for model in job.models}) > 1:
        raise EngineError(
            "The program given with --runner measures one file at a time, so that no two can take "
            "turns.",
            "Measure one configuration in a run, or leave --runner out.",
        )


def _measured(job: Job, model: JobModel, count: int, run: Run) -> tuple[int, list[int]]:
    """Run one model; return nanoseconds of loading and of each inference."""
    total = 1 + _warmup(job) + count
    arguments = [
        f"--model_path={model.path}",
        f"--num_executions={total}",
        f"--cpu_threads={job.threads}",
    ]
    if model.profile_to is not None:
        arguments.append(f"--etdump_path={_profile(model)}")
    said = run(arguments)
    found = {int(i): float(ms) for i, n, ms in _ITERATION.findall(said) if int(n) == total}
    if sorted(found) != list(range(1, total + 1)):
        raise EngineError(
            f"The program given with --runner told {len(found)} times for {total} inferences.",
            "Use an executor_runner that tells the time of each iteration, or leave --runner out.",
        )
    loaded = _LOADED.search(said)
    load_ns = round(float(loaded[1]) * 1e6) if loaded else 0
    return load_ns, [round(found[i] * 1e6) for i in range(1, total + 1)]


def _warmup(job: Job) -> int:
    return _WARMUP if job.warmup.iterations is None else job.warmup.iterations


def _profile(model: JobModel) -> str:
    return posixpath.join(model.profile_to or "", PROFILE)


def _samples(times: list[int]) -> dict[str, list[int]]:
    return {"wall_ns": times, "cpu_ns": [0] * len(times)}
