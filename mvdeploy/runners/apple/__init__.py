"""The runner for Core ML: ``python -m mvdeploy.runners.apple`` does one job here or on a phone.

It speaks the runner contract like `mvdeploy.runners.host`. coremltools' code for phones is
asynchronous and waits for a lot that may never come; in a process of its own it can hang or crash
without harm.

Times are Core ML's own (see `mvdeploy.engines.coreml`). There are no CPU times, as most of the
work is done elsewhere: ``cpu_ns`` is 0. Memory is this process's on a Mac; of a phone it is not
known, and 0 stands for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mvdeploy.engines import coreml
from mvdeploy.records import Job
from mvdeploy.runners import process
from mvdeploy.runners.apple.phone import Phone, Where, prepare, reason, said_by
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
    from mvdeploy.engines import Engine
    from mvdeploy.engines.coreml import CoreMLSession, Place


def main() -> None:
    """Read a job from standard input, do it, and end with status 0, or 4 if it failed."""
    process.die_with_parent()
    emit = process.claim_stdout()
    where = _arguments(sys.argv[1:])
    # coremltools leaves its temporary files behind; in this folder the link removes them.
    tempfile.tempdir = str(where.temporary)
    phone: Phone | None = None
    try:
        job = read_job()
        _hello_for(job, emit)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        phone = prepare(where, loop) if where.phone else None
        _run(job, phone.place if phone else coreml.Place(loop), phone, emit)
    except Failed as failed:
        gone = phone.trouble(failed) if phone else None
        emit("error", **(gone or failed).event, traceback=traceback.format_exc())
        sys.exit(EXIT_FAILED)
    finally:
        if phone is not None:
            phone.stop()


def _arguments(words: list[str]) -> Where:
    parser = argparse.ArgumentParser(prog="mvdeploy.runners.apple")
    parser.add_argument("--temporary", type=Path, required=True)
    parser.add_argument("--phone", default="")
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--team", default="")
    parser.add_argument("--clean", action="store_true")
    return Where(**vars(parser.parse_args(words)))


def _hello_for(job: Job, emit: Emit) -> None:
    version = version_of("coreml", cast("Engine", coreml))
    with stage("load", "Core ML could not be reached"):
        coreml.start()
        native = coreml.native()
    emit(
        "hello",
        **hello("apple"),
        clock=_CLOCK,
        engines={"coreml": version},
        engine_options=options_of(job),
        emulated=bool(getattr(native, "STAND_IN", False)),
    )


_SEGMENT_LIMIT = 100_000
"""Inferences after which samples are reported at the latest."""

_CLOCK = {"wall": {"implementation": "Core ML's time of a prediction", "resolution_s": 1e-9}}


def _run(job: Job, place: Place, phone: Phone | None, emit: Emit) -> None:
    memory: Callable[[], int] = resident if phone is None else lambda: 0
    _check_plan(job, phone)
    sessions = [_load(job, i, place, memory, emit) for i in range(len(job.models))]
    order = job.warmup_order or range(len(sessions))
    pace_ns = max(_warm(job, sessions[i], i, emit) for i in order)
    before = process.usage()
    _measure(job, sessions, pace_ns, emit)
    if phone is None:
        emit("usage", counters=process.usage().since(before))
    emit_outputs(job, sessions, memory, emit)
    emit_profiles(job, sessions, emit)
    _unload(sessions)
    emit("done", peak_memory=process.peak_memory() if phone is None else 0)


def _check_plan(job: Job, phone: Phone | None) -> None:
    if phone is None or not any(model.profile_to for model in job.models):
        return
    if phone.version() < coreml.LEAST_IOS_FOR_PLAN:
        raise Failed(
            "load",
            "The phone gives no compute plan: that needs iOS 17.4.",
            "Update the phone, or use --no-breakdown.",
        )


def _load(
    job: Job, index: int, place: Place, memory: Callable[[], int], emit: Emit
) -> CoreMLSession:
    request = request_of(job.models[index], job.threads)
    with stage("load", f"Core ML could not load {request.path.name}"), _told():
        before = memory()
        session = coreml.CoreMLSession(request, place)
    load_ns = session.load_ns
    emit("loaded", model=index, load_ns=load_ns, memory_before=before, memory_after=memory())
    return session


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Put what coremltools' own errors say, which may be bytes, in words."""
    try:
        yield
    except Exception as error:
        if coreml.is_silence(error):
            raise RuntimeError(reason(said_by(error))) from error
        raise


def _infer_of(session: CoreMLSession) -> Callable[[], None]:
    def infer() -> None:
        with _told():
            session.infer()
        _sweep()

    return infer


def _sweep() -> None:
    """Remove the copies of tensors that coremltools leaves behind, one for each inference."""
    for file in Path(tempfile.gettempdir()).glob("*.bin"):
        file.unlink()


def _warm(job: Job, session: CoreMLSession, index: int, emit: Emit) -> int:
    """Run the first inference and the warm-up; return nanoseconds that one takes with its way."""
    path, infer = job.models[index].path, _infer_of(session)
    with stage("run", f"Core ML failed in the first inference of {path}"):
        wall = time_order([infer], [0]).wall_ns
    emit("first", model=index, **_times(session.durations_ns))
    with stage("run", f"Core ML failed in the warm-up of {path}"):
        wall += warm_up(infer, job.warmup).wall_ns
    emit("warmup", model=index, **_times(session.durations_ns[1:]))
    return wall[-1]


def _measure(job: Job, sessions: list[CoreMLSession], pace_ns: int, emit: Emit) -> None:
    infers = [_infer_of(session) for session in sessions]
    start, began = 0, time.perf_counter_ns()
    while True:
        at_ns = time.perf_counter_ns() - began
        part = segment(job, start, at_ns / 1e9, pace_ns, _SEGMENT_LIMIT)
        if not part:
            break
        counts = [len(session.durations_ns) for session in sessions]
        try:
            with stage("run", f"Core ML failed in the measured inferences from number {start} on"):
                wall = time_order(infers, part).wall_ns
        finally:
            # What is finished is kept, however the rest of the segment went.
            new = [iter(s.durations_ns[count:]) for s, count in zip(sessions, counts, strict=True)]
            when = {"at_ns": at_ns} if job.repeat_s else {}
            emit("samples", start=start, **when, **_times(_in_order(new, part)))
        start += len(part)
        pace_ns = sum(wall) // len(wall)


def _in_order(durations: Sequence[Iterator[int]], order: Sequence[int]) -> list[int]:
    ordered = []
    for index in order:
        duration = next(durations[index], None)
        if duration is None:
            break
        ordered.append(duration)
    return ordered


def _times(durations_ns: list[int]) -> dict[str, Any]:
    return {"wall_ns": durations_ns, "cpu_ns": [0] * len(durations_ns)}


def _unload(sessions: list[CoreMLSession]) -> None:
    for session in sessions:
        try:
            session.close()
        except Exception:  # all is measured; the app is ended in any case
            traceback.print_exc()
