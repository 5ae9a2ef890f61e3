"""Starts a model once: ``python -m mvdeploy.runners.first_run`` does one `StartJob`.

What counts is what comes before a model is warm, so nothing of its engine is touched before. The
file is read for its checksum, which leaves it in the system's cache; for a cold start it is dropped
from there again, after the engine's library has been imported.
"""

from __future__ import annotations

import sys
import time
import traceback
from typing import Any

from mvdeploy import engines
from mvdeploy.records.codec import loads
from mvdeploy.records.first_run import StartJob
from mvdeploy.runners import contract, page_cache, process
from mvdeploy.runners.contract import EXIT_FAILED, Failed, stage
from mvdeploy.runners.loop import time_order


def main() -> None:
    """Read a job from standard input, do it, and end with status 0, or 4 if it failed."""
    process.die_with_parent()
    emit = process.claim_stdout()
    try:
        with stage("input", "The job could not be read"):
            job = loads(StartJob, sys.stdin.buffer.read().decode(), "The job")
        emit("start", **_started(job))
    except Failed as failed:
        emit("error", **failed.event, traceback=traceback.format_exc())
        sys.exit(EXIT_FAILED)


def _started(job: StartJob) -> dict[str, Any]:
    model = job.model
    with stage("cores", "The runner cannot be bound to cores"):
        process.bind(job.cores)
    request = contract.request_of(model, job.threads)
    engine = engines.get(model.engine)
    clock = time.perf_counter_ns
    with stage("load", f"{model.engine} could not be imported"):
        start = clock()
        engine.start()
        import_ns = clock() - start
    reason = _dropped(job) if job.cold else ""
    resident = page_cache.resident(job.files)
    with stage("load", f"{model.engine} could not load {model.path}"):
        start = clock()
        session = engine.open_session(request)
        load_ns = clock() - start
    with stage("run", f"{model.engine} failed in the first inferences of {model.path}"):
        samples = time_order([session.infer], [0] * job.inferences)
    return {
        "cold": job.cold,
        "resident": resident,
        "import_ns": import_ns,
        "load_ns": load_ns,
        "inferences_ns": list(samples.wall_ns),
        "reason": reason,
    }


def _dropped(job: StartJob) -> str:
    """Drop the files from the cache; return why that is not possible, as a clause."""
    try:
        page_cache.drop(job.files)
    except OSError as error:
        return str(error.strerror or error)
    return ""


if __name__ == "__main__":
    main()
