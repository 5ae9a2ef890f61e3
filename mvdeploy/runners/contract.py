"""What runners written in Python share: reading a job, saying what it brought, and failing well."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import mvdeploy
from mvdeploy import engines, files
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import MvdeployError, reason
from mvdeploy.files import writing
from mvdeploy.records import Job, JobModel
from mvdeploy.records.codec import loads
from mvdeploy.runners import process

if TYPE_CHECKING:
    from mvdeploy.engines import Engine, EngineSession, Tensor

FLUSH_S = 2.0
"""Seconds of measuring after which samples are reported, so that a runner that dies keeps them."""

_LEAST_S = 0.05
"""Seconds of measuring before a report at least, however little of a job's time is left."""

EXIT_FAILED = 4
"""Exit status after an ``error`` event."""

Emit = Callable[..., None]
"""Writes an event: its name and its fields."""


class Failed(Exception):
    """Ends the job with an ``error`` event.

    Args:
        kind: ``load``, ``run``, ``input``, ``cores``, ``memory`` or ``disk``.
        message: one sentence on what happened.
        remedy: one sentence on what to do.
    """

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.event = {"kind": kind, "message": message, "remedy": remedy}


def read_job() -> Job:
    """Read the job from standard input and check that it can be done."""
    with stage("input", "The job could not be read"):
        job = loads(Job, sys.stdin.buffer.read().decode(), "The job")
    demands = (
        (job.models, "it has no models"),
        (all(i < len(job.models) for i in job.order), "its order names a model it lacks"),
        (_is_order(job.warmup_order, len(job.models)), "it does not warm up each model once"),
        (job.order or not job.repeat_s, "there is nothing to repeat in its order"),
    )
    for good, fault in demands:
        if not good:
            raise Failed("input", f"The job cannot be done: {fault}.", "Correct the job.")
    return job


def _is_order(order: tuple[int, ...], count: int) -> bool:
    return not order or sorted(order) == list(range(count))


def segment(job: Job, start: int, seconds: float, pace_ns: float, limit: int) -> tuple[int, ...]:
    """Return what is run next, before the samples of it are reported; empty at the end.

    Args:
        job: with the order.
        start: inferences so far.
        seconds: since the first of them began.
        pace_ns: that one takes, about.
        limit: entries at most.
    """
    time_s = FLUSH_S
    if job.repeat_s:
        left_s = job.repeat_s - seconds
        if left_s <= 0:
            return ()
        # Half of what is left: inferences that get slower are not to go on for long after the end.
        time_s = min(FLUSH_S, max(left_s / 2, _LEAST_S))
    return job.part(start, max(1, min(int(time_s * 1e9 / max(pace_ns, 1)), limit)))


def hello(runner: str) -> dict[str, Any]:
    """Return what a runner says of itself and its machine, but for its engines and its clock."""
    return {
        "runner": runner,
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "cores": process.cores(),
    }


def version_of(name: str, engine: Engine) -> str:
    """Return the version of an engine that is installed."""
    with stage("load", f"The engine {name} is not installed"):
        return engine.version()


def options_of(job: Job) -> dict[str, dict[str, str | int]]:
    """Return what the sessions of a job will be opened with; see `mvdeploy.engines.options_of`."""
    with stage("load", "The options of an engine cannot be set"):
        return engines.options_of(job)


def request_of(model: JobModel, threads: int) -> SessionRequest:
    """Return what an engine is to load for a model, whose file is the one that the job describes.

    The folder for a profile is made.
    """
    path = Path(model.path)
    check_file(path, model.sha256)
    inputs = {name: read_input(name, file) for name, file in model.inputs.items()}
    profile_to = Path(model.profile_to) if model.profile_to is not None else None
    if profile_to is not None:
        with stage("load", f"The folder for the profile of {path} could not be made"):
            profile_to.mkdir(parents=True, exist_ok=True)
    return SessionRequest(path, inputs, threads, profile_to, model.outputs, model.options)


def check_file(path: Path, sha256: str) -> None:
    """Refuse a model that is not the one the job describes."""
    # This also brings the file into the system's cache, so that load times are of one kind.
    with stage("input", f"The model {path} could not be read"):
        actual = files.sha256(path)
    if actual != sha256:
        raise Failed(
            "input",
            f"{path} is not the file that the job describes (its SHA-256 is {actual[:12]}…, "
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


def emit_outputs(
    job: Job, sessions: Sequence[EngineSession], memory: Callable[[], int], emit: Emit
) -> None:
    """Report the output tensors of each model's last inference.

    Args:
        job: which models, and where their outputs are to be left.
        sessions: theirs.
        memory: resident bytes now.
        emit: writes an event.
    """
    for i, (model, session) in enumerate(zip(job.models, sessions, strict=True)):
        with stage("run", f"The outputs of {model.path} could not be read"):
            tensors = session.outputs()
            output = output_of(tensors)
        with stage("run", f"The outputs of {model.path} could not be written"):
            written = _write_outputs(tensors, Path(model.outputs_to)) if model.outputs_to else {}
        emit("output", model=i, **output, files=written, memory=memory())


def output_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what the ``output`` event says of output tensors."""
    import numpy as np

    digest = hashlib.sha256()
    finite = True
    for name in sorted(tensors):
        digest.update(tensors[name].tobytes())  # in C order, however it lies in memory
        of_floats = tensors[name].dtype.kind in "fc"
        finite = finite and not (of_floats and not np.isfinite(tensors[name]).all())
    shapes = {name: list(tensors[name].shape) for name in sorted(tensors)}
    return {"sha256": digest.hexdigest(), "shape": shapes, "finite": finite}


def _write_outputs(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, str]:
    """Write tensors as ``.npy`` files, and return their paths by name."""
    import numpy as np

    written = {}
    for position, name in enumerate(sorted(tensors)):
        path, tensor = folder / f"{position}.npy", np.asarray(tensors[name], order="C")
        with writing.whole(path) as part:
            np.save(part, tensor, allow_pickle=False)
        written[name] = str(path)
    return written


def emit_profiles(job: Job, sessions: Sequence[EngineSession], emit: Emit) -> None:
    """Finish the engines' profiles and report where they are."""
    for i, (model, session) in enumerate(zip(job.models, sessions, strict=True)):
        with stage("run", f"{model.engine} could not write the profile of {model.path}"):
            profile = session.end_profile()
        if profile is not None:
            emit("profile", model=i, path=str(profile))


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return psutil.Process().memory_info().rss


@contextlib.contextmanager
def stage(kind: str, what: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into an ``error`` event of this kind."""
    try:
        yield
    except MvdeployError as error:
        kind = "disk" if isinstance(error, writing.NotWritten) else kind
        raise Failed(kind, error.message, error.remedy) from error
    except Exception as error:
        if _is_memory(error):
            remedy = "Free memory, or use a smaller model, batch or image size."
            raise Failed("memory", f"{what}: memory ran out.", remedy) from error
        if (refusal := writing.cause(error)) is not None:
            refused = writing.refused(refusal)
            raise Failed("disk", refused.message, refused.remedy) from error
        raise Failed(kind, f"{what} ({reason(error, named=True)}).", _REMEDIES[kind]) from error


_REMEDIES = {
    "input": "Correct the job's input and run it again.",
    "cores": "Choose other cores.",
    "load": "Check that this engine and its version run models of this format.",
    "run": "Run it with another engine, or report this to the engine's developers.",
}

_MEMORY_WORDS = ("bad_alloc", "can't allocate memory", "out of memory", "failed to allocate")


def _is_memory(error: Exception) -> bool:
    # Engines written in C++ say it in words.
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in _MEMORY_WORDS)
