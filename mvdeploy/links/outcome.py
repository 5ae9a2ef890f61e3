"""What a runner's end means: a result, or an error that says what it was doing when it failed."""

from __future__ import annotations

import collections
import json
import re
import signal
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links import OnEvent, RunnerFailed
from mvdeploy.records import Job, JobResult
from mvdeploy.records.job import parse_events

_LAST = ("done", "error")

_REMEDIES = {
    "SIGKILL": "The system's out-of-memory killer does this: free memory, or try a smaller batch "
    "or image size.",
    "SIGILL": "The engine may have been built for a newer processor: install a build for this one.",
    "SIGTERM": "Something on the device ended it: run again.",
}
_NOT_FOUND, _NOT_EXECUTED = 127, 126
"""What a shell, or a loader, ends with when a program could not be started."""

_CRASH = "The engine crashed: try another engine or format, or report this to its developers."


class Heard:
    """What a runner has printed so far.

    Args:
        on_event: is given each event.
        keep_samples: whether ``samples`` are kept; those of hours are too many.

    Attributes:
        lines: whole lines, as they came.
        events: those of them that are events.
    """

    def __init__(self, on_event: OnEvent | None = None, *, keep_samples: bool = True) -> None:
        self._keep_samples = keep_samples
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._on_event = on_event
        self._pieces: list[bytes] = []

    @property
    def finished(self) -> bool:
        """Whether the last event there can be has arrived."""
        return bool(self.events) and self.events[-1]["event"] in _LAST

    def feed(self, data: bytes) -> None:
        """Take in what has arrived, in pieces of any size."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._take(b"".join([*self._pieces, end]).decode(errors="replace"))
            self._pieces.clear()
        self._pieces.append(rest)

    def _take(self, line: str) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            self.lines.append(line)
            return  # `conclude` reports it, once it is known how the runner ended
        is_event = isinstance(event, dict) and isinstance(event.get("event"), str)
        kept = self._keep_samples or not (is_event and event["event"] == "samples")
        if kept:
            self.lines.append(line)
        if is_event:
            if kept:
                self.events.append(event)
            if self._on_event:
                self._on_event(event)


def conclude(job: Job, heard: Heard, status: int, output: str) -> JobResult:
    """Return the result of a runner that has ended.

    Args:
        job: what it was to do.
        heard: what it printed.
        status: its exit status, or the number of the signal that killed it with a minus sign.
        output: what it wrote to its standard error.

    Raises:
        RunnerFailed: there is no whole result.
        NotWritten: the disk refused what it had to write.
    """
    # With the last event the job is complete: an engine that crashes while its process is torn
    # down takes nothing away from what was measured.
    if status != 0 and not heard.finished:
        raise _died(job, heard, status, output)
    try:
        return parse_events(heard.lines, job)
    except EngineError as error:
        raise RunnerFailed(error.message, error.remedy, heard.events, output) from error


def unrunnable(
    name: str, program: str, status: int, output: str, rebuild: str
) -> DeviceUnavailable | None:
    """Word the error for a program that a device does not start; None when it was started.

    Args:
        name: what the device is called.
        program: its path there, or that of its folder.
        status: the exit status.
        output: what the shell or the loader wrote.
        rebuild: how one for this device is had, a sentence.
    """
    links_not = "CANNOT LINK EXECUTABLE" in output and status > 0
    if status not in (_NOT_EXECUTED, _NOT_FOUND) and not links_not:
        return None
    says = f"exit status {status}: {_last_words(output) or 'it gives no reason'}"
    if status != _NOT_EXECUTED:
        return DeviceUnavailable(
            f"{name} lacks the loader or a library of {program}, or the program itself ({says}).",
            rebuild,
        )
    if re.search("exec format error|not executable", output, re.IGNORECASE):
        return DeviceUnavailable(
            f"{name} does not run {program}: it is built for another kind of processor ({says}).",
            rebuild,
        )
    return DeviceUnavailable(
        f"{name} does not let {program} be run ({says}).",
        "See whether `mount` there lists its file system as noexec, and have that lifted; "
        "otherwise measure on a device that lets programs be run from there.",
    )


def hung(job: Job, heard: Heard, limit_s: float, output: str) -> RunnerFailed:
    """Word the error for a runner that had to be stopped."""
    return RunnerFailed(
        f"The runner did not finish within {limit_s:g} s while {doing(heard.events, job)}.",
        "Give more time with --time-limit, or measure fewer inferences or a smaller model.",
        heard.events,
        output,
    )


def doing(events: Sequence[dict[str, Any]], job: Job) -> str:
    """Say what a runner was at after its latest event, such as ``loading xs.onnx``."""
    names = [PurePath(model.path).name for model in job.models]
    count = collections.Counter(event["event"] for event in events)
    if not count["hello"]:
        return "starting"
    if count["loaded"] < len(names):
        return f"loading {names[count['loaded']]}"
    if count["warmup"] < len(names):
        began = count["first"] > count["warmup"]
        return f"{'warming up' if began else 'first running'} {names[count['warmup']]}"
    taken = sum(_size(event) for event in events if event["event"] == "samples")
    if taken < len(job.order) and not (count["usage"] or count["output"]):
        return f"running inference of {' and '.join(dict.fromkeys(names))}"
    return "collecting outputs"


def _size(event: dict[str, Any]) -> int:
    times = event.get("wall_ns")
    return len(times) if isinstance(times, list) else 0


def _died(job: Job, heard: Heard, status: int, output: str) -> RunnerFailed:
    if status < 0:
        name = _signal_name(-status)
        how, remedy = f"was killed by {name}", _REMEDIES.get(name, _CRASH)
    else:
        how, remedy = f"ended with exit status {status}", _CRASH
    last = _last_words(output)
    words = f"; it last wrote: {last}" if last else ""
    return RunnerFailed(
        f"The runner {how} while {doing(heard.events, job)}{words}.", remedy, heard.events, output
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    # The frames of a traceback are indented; what matters is below them.
    lines = [line for line in lines if not line.startswith((" ", "Traceback ("))]
    return " | ".join(lines[-3:])[-400:].rstrip(".")
