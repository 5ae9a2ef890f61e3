"""A user's own ``executor_runner`` of ExecuTorch, made to speak the runner's contract.

It feeds ones, has no warm-up of its own, knows neither CPU times nor memory nor what came out, and
runs one file. Its first iterations are the first inference and the warm-up here. Numbers that it
does not tell are zero, which reports show as not known. On Android it writes to the system's log,
which keeps the last lines only: where the first are lost, it is run several times for fewer each.
"""

from __future__ import annotations

import collections
import math
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

_KEPT = 0.75
"""How much of what a log kept once is relied on again: other programs write to it, too."""

Run = Callable[[list[str]], str]
"""Runs the program with arguments, and returns all that it wrote."""

OnSplit = Callable[[int, int, int], None]
"""Told that of so many times so many were kept, and in how many runs they are measured instead."""


def events(job: Job, run: Run, on_split: OnSplit = lambda *_: None) -> Iterator[dict[str, Any]]:
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
    done = [_measured(job, model, counts[i], run, on_split) for i, model in enumerate(job.models)]
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


def _measured(
    job: Job, model: JobModel, count: int, run: Run, on_split: OnSplit
) -> tuple[int, list[int]]:
    """Run one model; return nanoseconds of loading and of each inference."""
    skipped = 1 + _warmup(job)
    total = skipped + count
    load_ns, told = _run(job, model, total, run)
    if len(told) == total:
        return load_ns, told
    most = int(len(told) * _KEPT) - skipped
    # A profile is of one run.
    if most < 1 or model.profile_to is not None:
        raise _untold(len(told), total)
    runs = math.ceil(count / most)
    on_split(total, len(told), runs)
    times: list[int] = []
    for i in range(runs):
        wanted = skipped + count * (i + 1) // runs - count * i // runs
        load_ns, told = _run(job, model, wanted, run)
        if len(told) != wanted:
            raise _untold(len(told), wanted)
        times += told[skipped:] if times else told
    return load_ns, times


def _run(job: Job, model: JobModel, total: int, run: Run) -> tuple[int, list[int]]:
    """Run it once; return nanoseconds of loading, and of the inferences that it told last."""
    arguments = [
        f"--model_path={model.path}",
        f"--num_executions={total}",
        f"--cpu_threads={job.threads}",
    ]
    if model.profile_to is not None:
        arguments.append(f"--etdump_path={_profile(model)}")
    said = run(arguments)
    found: dict[int, float] = {}
    last = 0
    for number, of, ms in _ITERATION.findall(said):
        if int(of) != total:
            continue
        if int(number) <= last:  # a log has what an earlier run told as well
            found.clear()
        last = int(number)
        found[last] = float(ms)
    # What is lost is lost from the first on.
    if list(found) != list(range(total - len(found) + 1, total + 1)):
        raise _untold(len(found), total)
    loaded = _LOADED.search(said)
    load_ns = round(float(loaded[1]) * 1e6) if loaded else 0
    return load_ns, [round(ms * 1e6) for ms in found.values()]


def _untold(told: int, total: int) -> EngineError:
    return EngineError(
        f"The program given with --runner told {told} times for {total} inferences.",
        "Use an executor_runner that tells the time of each iteration, measure fewer with "
        "--iterations, or leave --runner out.",
    )


def _warmup(job: Job) -> int:
    return _WARMUP if job.warmup.iterations is None else job.warmup.iterations


def _profile(model: JobModel) -> str:
    return posixpath.join(model.profile_to or "", PROFILE)


def _samples(times: list[int]) -> dict[str, list[int]]:
    return {"wall_ns": times, "cpu_ns": [0] * len(times)}
