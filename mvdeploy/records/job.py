"""`Job` and `JobResult`: the contract with every runner, whatever language it is written in.

A runner reads one job (JSON) and prints events, one JSON object on each line, each with its kind
in ``event``. They come in this order:

==============  ==================================================================================
``hello``       ``runner``, ``mvdeploy``, ``pid``, ``engines`` (versions), ``engine_options``,
                ``cores``, ``clock``: it started and understood the job; of browsers also
                ``engine_sha256`` (of the files they were given), ``adapters`` (GPUs) and
                ``emulates`` (why one is none), each by engine
``loaded``      for each model in turn: ``model`` (index), ``load_ns``, ``memory_before``,
                ``memory_after``; all models are loaded before the first inference
``first``       for each model in the order of warming up, before its ``warmup``: ``model``,
                ``wall_ns``, ``cpu_ns`` of the first inference, as lists
``warmup``      for each model: ``model``, ``wall_ns``, ``cpu_ns`` of the warm-up inferences
``samples``     any number: ``start`` (position in the order), ``wall_ns``, ``cpu_ns`` from there
                on; of an order that is repeated ``start`` counts on, and ``at_ns`` says when the
                first of them began, from the beginning of the first of all on
``usage``       ``counters`` of the process while it measured, by name (see `JobResult`); optional
``output``      for each model: ``model``, ``sha256`` of the output tensors' bytes in the order of
                their names, ``shape`` and ``files`` (paths) by name, ``finite`` (null, and no
                shapes, where the runner cannot tell), ``memory``
``profile``     for each profiled model: ``model``, ``path`` of the engine's own profile
``done``        ``peak_memory``; the last event
``error``       instead of the rest: ``kind`` (load, run, input, memory, disk; cores when it may not
                run on those of the job, and device when that is gone), ``message``, ``remedy``
==============  ==================================================================================

Times are nanoseconds, memory is bytes. A runner that cannot read the CPU time of single inferences
gives ``cpu_blocks`` instead of ``cpu_ns``: pairs of a number of inferences, one after the other and
of one model, and the CPU time of them all. Each of them then counts with its share (`cpu_times`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mvdeploy.errors import EngineError
from mvdeploy.files.writing import NotWritten
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.records.limits import Core, Count, Counter, Length, Nanoseconds, Size, Threads
from mvdeploy.records.plan import Warmup


@dataclasses.dataclass(frozen=True)
class JobModel:
    """A model for a runner to load.

    Attributes:
        engine: which engine runs it.
        path: the artifact, where the runner can read it.
        sha256: of that file; a runner refuses a file that differs.
        inputs: input name → file (NumPy ``.npy``) with the tensor.
        profile_to: folder for the engine's own profile, or None to run without.
        options: what the engine's session is opened with, by name, beside its defaults. One that
            the engine does not have is a ``load`` error.
        outputs: names of the outputs in the program's order, for engines whose files do not name
            them; others ignore it. Without it these outputs are ``output_0``, ``output_1``, …; more
            or fewer names than there are outputs are a ``load`` error.
        outputs_to: folder for the output tensors of the last inference, or None to leave none. They
            are NumPy ``.npy`` files in C order, ``0.npy`` for the first of the sorted names, and so
            on.
    """

    engine: str
    path: str
    sha256: str
    inputs: dict[str, str]
    profile_to: str | None = None
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    outputs_to: str | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """What a runner is to do.

    Attributes:
        models: loaded in this order.
        order: index of the model for each measured inference, in sequence.
        threads: inference threads of every engine session.
        warmup: how each model is warmed up, after its first inference.
        cores: CPU numbers to run on; empty for all.
        warmup_order: the models in the order in which they are warmed up; empty for the order in
            which they are loaded.
        repeat_s: seconds for which the order is gone through again and again, from its first
            inference on; 0 to go through it once.
    """

    models: tuple[JobModel, ...]
    order: tuple[Count, ...]
    threads: Threads
    warmup: Warmup
    cores: tuple[Core, ...] = ()
    warmup_order: tuple[Count, ...] = ()
    repeat_s: Size = 0.0

    def part(self, start: int, count: int) -> tuple[int, ...]:
        """Return some entries of the order, which begins anew after its end if it is repeated."""
        if not self.repeat_s:
            return self.order[start : start + count]
        length = len(self.order)
        return tuple(self.order[i % length] for i in range(start, start + count))


_CPU_STEP_NS, _CPU_READING_NS = 20_000_000, 20_000


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inference times in nanoseconds, in the order they were taken.

    Attributes:
        wall_ns: by the monotonic clock.
        cpu_ns: CPU time of the thread that called the engine: all of the work when it runs on one
            thread, a part of it otherwise.
    """

    wall_ns: tuple[Nanoseconds, ...] = ()
    cpu_ns: tuple[Nanoseconds, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if len(self.wall_ns) != len(self.cpu_ns):
            yield f"has {len(self.wall_ns)} wall times and {len(self.cpu_ns)} CPU times"

    def __len__(self) -> int:
        return len(self.wall_ns)

    @property
    def cpu_faults(self) -> Iterator[str]:
        """What no thread's CPU times can be, as clauses.

        The CPU clock is read around the wall clock, which takes a microsecond or is interrupted
        (0.3 ms were seen), and on some systems it moves in steps of up to 16 ms. One that tells
        single nanoseconds passes by no inference.
        """
        pairs = zip(self.wall_ns, self.cpu_ns, strict=True)
        allowed = 1.05 * sum(self.wall_ns) + _CPU_STEP_NS + _CPU_READING_NS * len(self)
        if sum(self.cpu_ns) > allowed or any(cpu > wall + _CPU_STEP_NS for wall, cpu in pairs):
            yield "has more CPU time than wall time, which no thread can have"
        if 0 in self.cpu_ns and any(time % 1000 for time in self.cpu_ns):
            yield "has a CPU time of 0 among others in nanoseconds"

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.wall_ns + other.wall_ns, self.cpu_ns + other.cpu_ns)


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """What a runner saw of one model.

    Attributes:
        load_ns: from the file to a session that can run.
        first: the first inference.
        warmup: the warm-up inferences.
        memory_before: resident bytes before loading.
        memory_after: resident bytes after loading and warm-up.
        output_sha256: of the output tensors' bytes.
        profile: the engine's profile file.
        output_shapes: of the output tensors, by name; empty when the runner cannot tell.
        finite: whether all output tensors are finite numbers; None when the runner cannot tell.
        output_files: where the output tensors are, by name; empty when none were asked for.
    """

    load_ns: Nanoseconds
    first: Samples
    warmup: Samples
    memory_before: Count
    memory_after: Count
    output_sha256: str
    profile: str | None
    output_shapes: dict[str, tuple[Length, ...]] = dataclasses.field(default_factory=dict)
    finite: bool | None = None
    output_files: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What a runner saw.

    Attributes:
        hello: the runner's own description: program, versions, clock, cores it may use.
        models: in the job's order.
        order: the job's order.
        samples: one for each entry of `order`; none of an order that is repeated: these
            are given to who listens to the events, and not kept.
        peak_memory: largest resident bytes of the runner's process.
        usage: what the process used while it measured: ``run_delay_ns`` (its threads, ready to
            run, waited for a core), ``switches_voluntary``, ``switches_involuntary``,
            ``faults_minor``, ``faults_major``; ``unavailable`` where the system does not tell.
    """

    hello: dict[str, Any]
    models: tuple[ModelResult, ...]
    order: tuple[Count, ...]
    samples: Samples
    peak_memory: Count
    usage: dict[str, Counter] = dataclasses.field(default_factory=dict)

    def samples_of(self, model: int, start: int = 0, stop: int | None = None) -> Samples:
        """Return the samples of one model between two positions of the order."""
        stop = len(self.order) if stop is None else stop
        return self.samples_at([i for i in range(start, stop) if self.order[i] == model])

    def samples_at(self, positions: Sequence[int]) -> Samples:
        """Return the samples at some positions of the order."""
        return Samples(
            tuple(self.samples.wall_ns[i] for i in positions),
            tuple(self.samples.cpu_ns[i] for i in positions),
        )


def parse_events(lines: Iterable[str], job: Job) -> JobResult:
    """Put a runner's events together.

    Raises:
        EngineError: the runner reported an error, stopped early, or did not keep the contract.
        NotWritten: the disk refused what it had to write.
    """
    events: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        event = _parse_line(line)
        events.setdefault(event["event"], []).append(event)
    for error in events.get("error", ()):
        kind = NotWritten if error.get("kind") == "disk" else EngineError
        raise kind(str(error.get("message")), str(error.get("remedy")))
    if "done" not in events:
        raise EngineError(
            "The runner stopped before it was done.", "Run again with --debug to see its output."
        )
    try:
        models = tuple(_model_result(events, i) for i in range(len(job.models)))
        samples = _all_samples(events.get("samples", ()))
        peak = decode(Count, events["done"][0]["peak_memory"], "peak_memory")
        usage = decode(dict[str, Counter], _usage(events), "usage")
        result = JobResult(events["hello"][0], models, job.order, samples, peak, usage)
    except (KeyError, IndexError, TypeError) as error:
        raise _broken(f"an event lacks {error}") from error
    except RecordError as error:
        raise _broken(error.message.rstrip(".")) from error
    if not job.repeat_s and len(job.order) != len(samples):
        raise _broken(f"{len(job.order)} inferences were asked for, {len(samples)} came back")
    return result


def _parse_line(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(f"it printed {line[:80]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise _broken(f"it printed {line[:80]!r}")
    return event


def _model_result(events: dict[str, list[dict[str, Any]]], index: int) -> ModelResult:
    def of(kind: str) -> dict[str, Any]:
        return next((e for e in events.get(kind, ()) if e["model"] == index), {})

    loaded, output = of("loaded"), of("output")
    body = {
        "load_ns": loaded["load_ns"],
        "first": _times(of("first")),
        "warmup": _times(of("warmup")),
        "memory_before": loaded["memory_before"],
        "memory_after": output["memory"],
        "output_sha256": output["sha256"],
        "profile": of("profile").get("path"),
        "output_shapes": output.get("shape", {}),
        "finite": output.get("finite"),
        "output_files": output.get("files", {}),
    }
    return decode(ModelResult, body, f"model {index}")


def _usage(events: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    usages = events.get("usage")
    counters: dict[str, Any] = usages[0]["counters"] if usages else {}
    return counters


def _all_samples(events: Iterable[dict[str, Any]]) -> Samples:
    wall: list[int] = []
    cpu: list[int] = []
    for event in events:
        if event["start"] != len(wall):
            raise _broken(f"samples from {event['start']} on came after {len(wall)} of them")
        part = decode(Samples, _times(event), "runner event 'samples'")
        wall += part.wall_ns
        cpu += part.cpu_ns
    return Samples(tuple(wall), tuple(cpu))


def _times(event: dict[str, Any]) -> dict[str, Any]:
    return {"wall_ns": event["wall_ns"], "cpu_ns": cpu_times(event)}


def cpu_times(event: Mapping[str, Any]) -> Sequence[int]:
    """Return the CPU time of each inference that an event tells of, in nanoseconds.

    Of a block each inference has its share, in whole microseconds. What a block has more than wall
    time is other threads' of the process, as these times are of one thread.

    Raises:
        EngineError: the blocks are not those of the event's inferences.
    """
    if "cpu_blocks" not in event:
        times: Sequence[int] = event["cpu_ns"]
        return times
    try:
        blocks = decode(tuple[tuple[Count, Nanoseconds], ...], event["cpu_blocks"], "cpu_blocks")
        wall_ns = decode(tuple[Nanoseconds, ...], event["wall_ns"], "wall_ns")
    except RecordError as error:
        raise _broken(error.message.rstrip(".")) from error
    if sum(count for count, _ in blocks) != len(wall_ns):
        raise _broken(f"its blocks do not have the {len(wall_ns)} inferences that it tells of")
    shares: list[int] = []
    for count, ns in blocks:
        us = min(ns, sum(wall_ns[len(shares) : len(shares) + count])) // 1000
        shares += [1000 * (us // count + (i < us % count)) for i in range(count)]
    return shares


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The runner did not keep its contract: {what}.",
        "Check that the runner and mvdeploy are of the same release.",
    )
