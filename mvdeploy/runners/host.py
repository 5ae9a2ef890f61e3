"""The Python runner: ``python -m mvdeploy.runners.host`` does one job and reports events.

All models are loaded first, in the job's order; then each has its first inference and its warm-up,
in the order of warming up if the job gives one; then come the measured inferences in the order that
the job gives, and what the process used meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

import mvdeploy
from mvdeploy import engines, files
from mvdeploy.errors import MvdeployError
from mvdeploy.records import Job, JobModel, Samples
from mvdeploy.records.codec import loads
from mvdeploy.runners import process
from mvdeploy.runners.loop import time_order, warm_up

if TYPE_CHECKING:
    from mvdeploy.engines import Engine, EngineSession, Tensor

_FLUSH_S = 2.0
"""Seconds of measuring after which samples are reported, so that a runner that dies keeps them."""

_SEGMENT_LIMIT = 100_000
"""Inferences after which samples are reported at the latest."""

_EXIT_FAILED = 4

Emit = Callable[..., None]


class Failed(Exception):
    """Ends the job with an ``error`` event.

    Args:
        kind: ``load``, ``run``, ``input`` or ``memory``.
        message: one sentence on what happened.
        remedy: one sentence on what to do.
    """

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.event = {"kind": kind, "message": message, "remedy": remedy}


def main() -> None:
    """Read a job from standard input, do it, and end with status 0, or 4 if it failed."""
    process.die_with_parent()
    emit = process.claim_stdout()
    try:
        _run(read_job(), emit)
    except Failed as failed:
        emit("error", **failed.event, traceback=traceback.format_exc())
        sys.exit(_EXIT_FAILED)


def read_job() -> Job:
    """Read the job from standard input and check that it can be done."""
    with stage("input", "The job could not be read"):
        job = loads(Job, sys.stdin.buffer.read().decode(), "The job")
    demands = (
        (job.models, "it has no models"),
        (all(0 <= i < len(job.models) for i in job.order), "its order names a model it lacks"),
        (job.threads >= 1, "it asks for less than one thread"),
        (_is_order(job.warmup_order, len(job.models)), "it does not warm up each model once"),
    )
    for good, reason in demands:
        if not good:
            raise Failed("input", f"The job cannot be done: {reason}.", "Correct the job.")
    return job


def _is_order(order: tuple[int, ...], count: int) -> bool:
    return not order or sorted(order) == list(range(count))


def _run(job: Job, emit: Emit) -> None:
    with stage("input", "The job cannot be done here"):
        process.bind(job.cores)
        chosen = {model.engine: engines.get(model.engine) for model in job.models}
    versions = {name: version_of(name, engine) for name, engine in chosen.items()}
    options = {name: engines.options(engine, job.threads) for name, engine in chosen.items()}
    emit("hello", **hello(), engines=versions, engine_options=options)
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
    for i, session in enumerate(sessions):
        with stage("run", f"The outputs of {job.models[i].path} could not be read"):
            emit("output", model=i, **output_of(session.outputs()), memory=resident())
    for i, session in enumerate(sessions):
        _finish_profile(job.models[i], session, i, emit)
    emit("done", peak_memory=process.peak_memory())


def hello() -> dict[str, Any]:
    """Return what a runner says of itself and its machine."""
    return {
        "runner": "host",
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "cores": process.cores(),
        "clock": {"wall": _clock("perf_counter"), "cpu": _clock("thread_time")},
    }


def version_of(name: str, engine: Engine) -> str:
    """Return the version of an engine that is installed."""
    with stage("load", f"The engine {name} is not installed"):
        return engine.version()


def _clock(name: Literal["perf_counter", "thread_time"]) -> dict[str, Any]:
    info = time.get_clock_info(name)
    return {
        "function": name,
        "implementation": info.implementation,
        "resolution_s": info.resolution,
    }


def _load(model: JobModel, threads: int, index: int, emit: Emit) -> EngineSession:
    path = Path(model.path)
    check_file(path, model.sha256)
    inputs = {name: read_input(name, file) for name, file in model.inputs.items()}
    profile_to = Path(model.profile_to) if model.profile_to is not None else None
    engine = engines.get(model.engine)
    with stage("load", f"{model.engine} could not load {path}"):
        if profile_to is not None:
            profile_to.mkdir(parents=True, exist_ok=True)
        memory_before = resident()
        start = time.perf_counter_ns()
        session = engine.open_session(path, inputs, threads, profile_to)
        load_ns = time.perf_counter_ns() - start
    emit(
        "loaded",
        model=index,
        load_ns=load_ns,
        memory_before=memory_before,
        memory_after=resident(),
    )
    return session


def check_file(path: Path, sha256: str) -> None:
    """Refuse a model that is not the one the job describes."""
    # This also brings the file into the system's cache, so that load times are of one kind.
    with stage("input", f"The model {path} could not be read"):
        found = files.sha256(path)
    if found != sha256:
        raise Failed(
            "input",
            f"{path} is not the file that the job describes (its SHA-256 is {found[:12]}…, "
            f"not {sha256[:12]}…).",
            "Export the model again.",
        )


def read_input(name: str, file: str) -> Tensor:
    """Read the tensor that an input is fed."""
    import numpy as np

    with stage("input", f"The input '{name}' could not be read from {file}"):
        tensor = np.load(file, allow_pickle=False)
    if not isinstance(tensor, np.ndarray):
        raise Failed("input", f"{file} holds no single tensor.", "Give a NumPy .npy file.")
    return tensor


def _warm(job: Job, session: EngineSession, index: int, emit: Emit) -> int:
    """Run the first inference and the warm-up; return nanoseconds of one warm inference."""
    path = job.models[index].path
    with stage("run", f"{job.models[index].engine} failed in the first inference of {path}"):
        first = time_order([session.infer], [0])
    emit("first", model=index, **_times(first))
    with stage("run", f"{job.models[index].engine} failed in the warm-up of {path}"):
        warmup = warm_up(session.infer, job.warmup)
    emit("warmup", model=index, **_times(warmup))
    return (warmup.wall_ns or first.wall_ns)[-1]


def _measure(job: Job, sessions: list[EngineSession], pace_ns: int, emit: Emit) -> None:
    infers = [session.infer for session in sessions]
    engines = ", ".join(dict.fromkeys(model.engine for model in job.models))
    start = 0
    while start < len(job.order):
        length = max(1, min(int(_FLUSH_S * 1e9 / max(pace_ns, 1)), _SEGMENT_LIMIT))
        segment = job.order[start : start + length]
        with stage("run", f"{engines} failed in the measured inferences from number {start} on"):
            samples = time_order(infers, segment)
        emit("samples", start=start, **_times(samples))
        start += len(segment)
        pace_ns = sum(samples.wall_ns) // len(samples)


def _times(samples: Samples) -> dict[str, Any]:
    return {"wall_ns": samples.wall_ns, "cpu_ns": samples.cpu_ns}


def output_of(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the ``output`` event says of output tensors."""
    import numpy as np

    digest = hashlib.sha256()
    finite = True
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(tensor.tobytes())
        finite = finite and (tensor.dtype.kind not in "fc" or bool(np.isfinite(tensor).all()))
    shapes = {name: list(tensors[name].shape) for name in sorted(tensors)}
    return {"sha256": digest.hexdigest(), "shape": shapes, "finite": finite}


def _finish_profile(model: JobModel, session: EngineSession, index: int, emit: Emit) -> None:
    with stage("run", f"{model.engine} could not write the profile of {model.path}"):
        profile = session.end_profile()
    if profile is not None:
        emit("profile", model=index, path=str(profile))


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return psutil.Process().memory_info().rss


@contextlib.contextmanager
def stage(kind: str, what: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into an ``error`` event of this kind."""
    try:
        yield
    except MvdeployError as error:
        raise Failed(kind, error.message, error.remedy) from error
    except Exception as error:
        if _is_memory(error):
            remedy = "Free memory, or use a smaller model, batch or image size."
            raise Failed("memory", f"{what}: memory ran out.", remedy) from error
        words = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300].rstrip(".")
        raise Failed(kind, f"{what} ({words}).", _REMEDIES[kind]) from error


_REMEDIES = {
    "input": "Correct the job's input and run it again.",
    "load": "Check that this engine and its version run models of this format.",
    "run": "Run it with another engine, or report this to the engine's developers.",
}

_MEMORY_WORDS = ("bad_alloc", "can't allocate memory", "out of memory", "failed to allocate")


def _is_memory(error: Exception) -> bool:
    # Engines written in C++ say it in words.
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in _MEMORY_WORDS)


if __name__ == "__main__":
    main()
