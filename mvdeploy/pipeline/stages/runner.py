"""Times the stages of a pipeline: ``python -m mvdeploy.pipeline.stages.runner`` does one job.

Blocks of passes in which every stage is timed take turns with such in which only the whole is, so
that what reading the clock costs is known.
"""

from __future__ import annotations

import contextlib
import gc
import platform
import sys
import time
import traceback
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import engines, tasks
from mvdeploy.pipeline.stages import steps
from mvdeploy.records import Artifact, ModelSpec
from mvdeploy.records.codec import loads
from mvdeploy.records.stages import StagesJob
from mvdeploy.runners import contract, process
from mvdeploy.runners.contract import EXIT_FAILED, Failed, stage
from mvdeploy.runners.loop import warm_up
from mvdeploy.verify import running

if TYPE_CHECKING:
    import numpy.typing as npt

    from mvdeploy.engines import EngineSession
    from mvdeploy.pipeline.stages.steps import Step

    Arrays = Mapping[str, npt.NDArray[Any]]

_BLOCK = 5
"""Passes of one kind before the other kind has its turn."""

_LEAST = 20
"""Timed passes at least, however slow they are."""

_MOST = 20_000
"""Timed passes at most: all are kept."""


def main() -> None:
    """Read a job from standard input, do it, and end with status 0, or 4 if it failed."""
    process.die_with_parent()
    emit = process.claim_stdout()
    try:
        with stage("input", "The job could not be read"):
            job = loads(StagesJob, sys.stdin.buffer.read().decode(), "The job")
        emit("stages", **_timed(job))
    except Failed as failed:
        emit("error", **failed.event, traceback=traceback.format_exc())
        sys.exit(EXIT_FAILED)


def _timed(job: StagesJob) -> dict[str, Any]:
    with stage("cores", "The runner cannot be bound to cores"):
        process.bind(job.cores)
    engine, artifact = engines.get(job.model.engine), job.artifact
    with stage("load", f"{job.model.engine} could not be imported"):
        engine.start()
    request = contract.request_of(job.model, job.threads)
    with stage("load", f"{job.model.engine} could not load {job.model.path}"):
        session = engine.open_session(request)
    with stage("input", f"{job.picture} could not be read"):
        data = Path(job.picture).read_bytes()
    with stage("run", f"{job.model.engine} failed on {job.model.path}"):
        wanted, again = (_outputs(session, artifact) for _ in range(2))
    with stage("run", "The stages could not be run"):
        functions = steps.steps(artifact, session, data)
        chain = [*functions.values()]
        warmup = len(warm_up(lambda: _pass(chain), job.warmup))
        found = _blocks(job, functions)
        _pass(chain)
        got = running.numeric(artifact, session.outputs())
        batch = artifact.spec.batch
        first, other = steps.apart(wanted, batch)[0], steps.apart(got, batch)[0]
        return {
            **found,
            "warmup": warmup,
            "program": _program(),
            "picture": _described(job.picture, data),
            "said": _answers(other, artifact.spec),
            "wanted": _answers(first, artifact.spec),
            "difference": _difference(first, other),
            "repeats": _difference(wanted, again),
        }


def _outputs(session: EngineSession, artifact: Artifact) -> dict[str, npt.NDArray[Any]]:
    """Run what the session was opened with; the arrays are copies, as engines reuse theirs."""
    session.infer()
    found = running.numeric(artifact, session.outputs())
    return {name: array.copy() for name, array in found.items()}


def _blocks(job: StagesJob, functions: Mapping[str, Step]) -> dict[str, Any]:
    """Run blocks of both kinds in turns until there are enough passes."""
    clock, chain = time.perf_counter_ns, [*functions.values()]
    times: list[array[int]] = []
    total, plain = array("q"), array("q")
    until = clock() + round(job.seconds * 1e9)
    with _uncollected():
        while not _enough(job, len(total), clock() >= until):
            for _ in range(min(_BLOCK, job.passes - len(total) if job.passes else _BLOCK)):
                parts, whole = _timed_pass(chain)
                times.append(parts)
                total.append(whole)
            for _ in range(_BLOCK):
                start = clock()
                _pass(chain)
                plain.append(clock() - start)
    by_stage = {name: [parts[at] for parts in times] for at, name in enumerate(functions)}
    return {"stages": by_stage, "total_ns": list(total), "plain_ns": list(plain)}


def _enough(job: StagesJob, count: int, late: bool) -> bool:
    if job.passes is not None:
        return count >= job.passes
    return count >= _MOST or (late and count >= _LEAST)


def _pass(chain: Sequence[Step]) -> None:
    value: Any = None
    for step in chain:
        value = step(value)


def _timed_pass(chain: Sequence[Step]) -> tuple[array[int], int]:
    """Return nanoseconds of each stage and of the whole pass."""
    clock, parts = time.perf_counter_ns, array("q", bytes(8 * len(chain)))
    value: Any = None
    began = clock()
    for at, step in enumerate(chain):
        start = clock()
        value = step(value)
        parts[at] = clock() - start
    return parts, clock() - began


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector from running in the middle of a stage."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _answers(outputs: Arrays, spec: ModelSpec) -> list[Any]:
    found = tasks.answers(tasks.get(spec.task), outputs, spec) or ()
    return [(one.number, one.value, one.box) for one in found]


def _difference(wanted: Arrays, got: Arrays) -> float:
    """Return how far outputs are apart at most, as a share of the largest of each."""
    import numpy as np

    worst = 0.0
    for name, reference in wanted.items():
        a, b = (np.asarray(x, np.float64) for x in (reference, got[name]))
        if a.shape != b.shape:
            return 1.0
        largest = float(np.abs(a).max(initial=0.0)) or 1.0
        apart = float(np.abs(a - b).max(initial=0.0)) / largest
        worst = max(worst, apart if np.isfinite(apart) else 1.0)
    return worst


def _program() -> str:
    import numpy as np
    import PIL

    return f"Python {platform.python_version()}, Pillow {PIL.__version__}, NumPy {np.__version__}"


def _described(path: str, data: bytes) -> str:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        size = f"{picture.width}x{picture.height} pixels"
        return f"{Path(path).name}, {picture.format} of {size} in {len(data):,} bytes"


if __name__ == "__main__":
    main()
