"""The Python runner: ``python -m mvdeploy.runners.host`` does one job and reports events.

All models are loaded first, in the job's order; then each has its first inference and its warm-up,
in the order of warming up if the job gives one; then come the measured inferences in the order that
the job gives, once or for as long as it says, and what the process used meanwhile.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Literal

from mvdeploy import engines
from mvdeploy.records import Job, JobModel, Samples
from mvdeploy.runners import process
from mvdeploy.runners.contract import (
    EXIT_FAILED,
    Emit,
    Failed,
    emit_outputs,
    emit_profiles,
    hello,
    options_of,
    read_job,
    request_of,
    resident,
    segment,
    stage,
    version_of,
)
from mvdeploy.runners.loop import time_order, warm_up

if TYPE_CHECKING:
    from mvdeploy.engines import EngineSession

_SEGMENT_LIMIT = 100_000
"""Inferences after which samples are reported at the latest."""


def main() -> None:
    """Read a job from standard input, do it, and end with status 0, or 4 if it failed."""
    process.die_with_parent()
    emit = process.claim_stdout()
    try:
        _run(read_job(), emit)
    except Failed as failed:
        emit("error", **failed.event, traceback=traceback.format_exc())
        sys.exit(EXIT_FAILED)


def _run(job: Job, emit: Emit) -> None:
    with stage("cores", "The runner cannot be bound to cores"):
        process.bind(job.cores)
    with stage("input", "The job cannot be done here"):
        chosen = {model.engine: engines.get(model.engine) for model in job.models}
    versions = {name: version_of(name, engine) for name, engine in chosen.items()}
    clock = {"wall": _clock("perf_counter"), "cpu": _clock("thread_time")}
    emit("hello", **hello("host"), clock=clock, engines=versions, engine_options=options_of(job))
    for name, engine in chosen.items():
        # Before any load is timed: importing an engine is no part of loading a model.
        with stage("load", f"{name} could not be imported"):
            engine.start()
    sessions = [_load(model, job.threads, i, emit) for i, model in enumerate(job.models)]
    # What lives now lives to the end: the collector need not look at it, and during measuring it
    # must not run at all.
    gc.collect()
    gc.freeze()
    gc.disable()
    warmup_order = job.warmup_order or range(len(sessions))
    pace_ns = max(_warm(job, sessions[i], i, emit) for i in warmup_order)
    before = process.usage()
    _measure(job, sessions, pace_ns, emit)
    emit("usage", counters=process.usage().since(before))
    gc.enable()
    emit_outputs(job, sessions, resident, emit)
    emit_profiles(job, sessions, emit)
    emit("done", peak_memory=process.peak_memory())


def _clock(name: Literal["perf_counter", "thread_time"]) -> dict[str, Any]:
    info = time.get_clock_info(name)
    return {
        "function": name,
        "implementation": info.implementation,
        "resolution_s": info.resolution,
    }


def _load(model: JobModel, threads: int, index: int, emit: Emit) -> EngineSession:
    request = request_of(model, threads)
    engine = engines.get(model.engine)
    with stage("load", f"{model.engine} could not load {model.path}"):
        memory_before = resident()
        start = time.perf_counter_ns()
        session = engine.open_session(request)
        load_ns = time.perf_counter_ns() - start
    emit(
        "loaded",
        model=index,
        load_ns=load_ns,
        memory_before=memory_before,
        memory_after=resident(),
    )
    return session


def _warm(job: Job, session: EngineSession, index: int, emit: Emit) -> int:
    """Run the first inference and the warm-up; return nanoseconds of one warm inference."""
    path = job.models[index].path
    with stage("run", f"{job.models[index].engine} failed in the first inference of {path}"):
        first = time_order([session.infer], [0])
    emit("first", model=index, **_times(first))
    with stage("run", f"{job.models[index].engine} failed in the warm-up of {path}"):
        warmup = warm_up(session.infer, job.warmup, "cpu" if job.threads == 1 else "wall")
    emit("warmup", model=index, **_times(warmup))
    return (warmup.wall_ns or first.wall_ns)[-1]


def _measure(job: Job, sessions: list[EngineSession], pace_ns: int, emit: Emit) -> None:
    infers = [session.infer for session in sessions]
    engines = ", ".join(dict.fromkeys(model.engine for model in job.models))
    start, began = 0, time.perf_counter_ns()
    while True:
        at_ns = time.perf_counter_ns() - began
        part = segment(job, start, at_ns / 1e9, pace_ns, _SEGMENT_LIMIT)
        if not part:
            break
        with stage("run", f"{engines} failed in the measured inferences from number {start} on"):
            samples = time_order(infers, part)
        emit(
            "samples", start=start, **({"at_ns": at_ns} if job.repeat_s else {}), **_times(samples)
        )
        start += len(part)
        pace_ns = sum(samples.wall_ns) // len(samples)
        if job.repeat_s:
            gc.collect()  # of what the last seconds left; over hours it would fill the memory


def _times(samples: Samples) -> dict[str, Any]:
    return {"wall_ns": samples.wall_ns, "cpu_ns": samples.cpu_ns}


if __name__ == "__main__":
    main()
