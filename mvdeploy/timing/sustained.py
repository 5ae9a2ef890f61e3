"""Load that does not end: cases run for minutes or hours, and every interval of it is summed up.

A case has one process for all of its time, as loading anew would let a device cool down; the
runner goes through the job's order again and again. Of an interval only percentiles and a sketch of
its times are kept, so that hours need no more memory than minutes. What the device tells of clocks
and heat is read beside, on the same time axis. A device that is lost and comes back goes on where
it was, with the gap on record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.links import Link
from mvdeploy.records import (
    DeviceState,
    Gap,
    Interval,
    Job,
    Moment,
    Plan,
    Sustained,
)
from mvdeploy.records.job import cpu_times
from mvdeploy.stats import sketch
from mvdeploy.stats.percentiles import percentile
from mvdeploy.timing.case import Entry, Progress
from mvdeploy.timing.sessions import Clock, Listener, probe

PATIENCE_S, POLL_S = 300.0, 5.0
"""Seconds for which a device that is lost may be gone, and between two looks for it."""

_LEAST_READING_S = 2.0
"""Seconds between two readings of the device at least: they are work for it too."""

_SLACK_S = 120.0
"""Seconds for loading, and for the outputs in the end, beyond which a job counts as hung."""

READINGS = (
    *("cpu_khz", "cpu_max_khz", "thermal_status", "temperatures_c", "skin_c"),
    *("battery_percent", "battery_plugged", "battery_c", "fixed_performance"),
    *("run_delay_ns", "psi_cpu_some_us", "idle_ticks", "total_ticks", "steal_ticks"),
    *("cpu_quota_held_us", "memory_available_bytes", "screen"),
)
"""What is kept of a device's state while it works; see `mvdeploy.links`."""

OnGrown = Callable[[str, Sustained], None]
"""Is given a case's name and all that is known of it, after every interval."""


def sustain(
    entries: Sequence[Entry],
    link: Link,
    plan: Plan,
    listener: Listener,
    grown: OnGrown,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Run cases for as long as the plan says, one after the other, or in turns of an interval.

    Args:
        entries: the cases; those that take turns have one engine and one number of threads.
        link: an open link to the device.
        plan: how; `Plan.sustained_s` is the time of each case, or of all that take turns.
        listener: is told what begins, what was measured of loading, and which cases fail.
        grown: is told of every interval.
        clock: seconds.
        sleep: waits for some seconds.

    Raises:
        DeviceUnavailable: the device is gone, and did not come back.
    """
    groups = [list(entries)] if plan.alternate else [[entry] for entry in entries]
    for group in groups:
        link.take(group[0].setting)
        own = dataclasses.replace(plan, threads=group[0].threads or plan.threads)
        found = (probe(entry, link, own, listener) for entry in group)
        runs = [run for run in found if run is not None]
        for run in runs:
            listener.measured(run.entry.slug, run.measurement(own, run.before))
        if runs:
            Load(runs, link, own, listener, grown, clock, sleep).run()


@dataclasses.dataclass
class _Open:
    """The interval that has not ended yet.

    Attributes:
        case: whose it is.
        start_s: on the axis.
        wall_ns: times so far.
        cpu_ns: likewise.
    """

    case: int
    start_s: float
    wall_ns: list[int] = dataclasses.field(default_factory=list)
    cpu_ns: list[int] = dataclasses.field(default_factory=list)


class Load:
    """Cases that share one process for all of their time.

    Args:
        runs: the cases, each probed.
        link: an open link to the device.
        plan: how, and with how many threads.
        listener: is told what begins and what fails.
        grown: is told of every interval.
        clock: seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        runs: Sequence[Progress],
        link: Link,
        plan: Plan,
        listener: Listener,
        grown: OnGrown,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._runs, self._link, self._plan = runs, link, plan
        self._listener, self._grown, self._clock, self._sleep = listener, grown, clock, sleep
        self._zero: float | None = None
        self._now_s = 0.0
        self._open: _Open | None = None
        self._gaps: list[Gap] = []
        self._until = 0.0
        self._started_at = ""
        self._ended = ""
        self._intervals: list[list[Interval]] = [[] for _ in runs]
        self._order = _order(runs, plan)
        self._watch = Watch(link, max(plan.interval_s, _LEAST_READING_S), clock)

    def run(self) -> None:
        """Run until the time is up.

        Raises:
            DeviceUnavailable: the device is gone, and did not come back.
        """
        self._listener.step(f"{self._name}: {self._plan.sustained_s:g} s without a pause")
        try:
            with self._watch:
                while (left_s := self._plan.sustained_s - self._elapsed_s()) > 0:
                    try:
                        self._job(left_s)
                    except DeviceUnavailable as error:
                        self._await(error)
                    else:
                        break
        except KeyboardInterrupt:
            self._end("It was interrupted.")
            raise
        except DeviceUnavailable as error:
            self._end(error.message)
            raise
        except EngineError as error:
            self._end(error.message)
            for run in self._runs:
                self._listener.failed(run.entry.slug, error)
        else:
            self._end("")

    @property
    def _name(self) -> str:
        return " and ".join(run.entry.slug for run in self._runs)

    def _elapsed_s(self) -> float:
        return 0.0 if self._zero is None else self._clock() - self._zero

    def _job(self, left_s: float) -> None:
        plan = self._plan
        job = Job(
            models=tuple(run.entry.model for run in self._runs),
            order=self._order,
            threads=plan.threads,
            warmup=plan.warmup,
            cores=plan.cores,
            repeat_s=left_s,
        )
        base_s: float | None = None

        def listen(event: dict[str, Any]) -> None:
            nonlocal base_s
            if event["event"] != "samples":
                return
            at_s, took_s = event["at_ns"] / 1e9, sum(event["wall_ns"]) / 1e9
            if base_s is None:
                base_s = self._place(at_s + took_s)
            self._take(job, event, base_s + at_s)

        limit_s = _SLACK_S + 2 * left_s + len(self._runs) * plan.warmup.max_seconds
        result = self._link.run(job, limit_s, listen)
        for run, model in zip(self._runs, result.models, strict=True):
            run.entry.check_outputs(model)
            run.check_checksum(model, 1)
            if run.findings:
                self._listener.measured(run.entry.slug, run.measurement(plan, self._link.state()))

    def _place(self, passed_s: float) -> float:
        """Return when a runner began to measure, from the first inference of all on."""
        began = self._clock() - passed_s
        if self._zero is None:
            self._zero = began
            now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=passed_s)
            self._started_at = now.isoformat(timespec="milliseconds")
        base_s = max(began - self._zero, self._now_s)
        if self._gaps and not self._gaps[-1].length_s:
            last = self._gaps[-1]
            self._gaps[-1] = dataclasses.replace(last, length_s=base_s - last.start_s)
        return base_s

    def _take(self, job: Job, event: dict[str, Any], at_s: float) -> None:
        """Put samples into intervals; each ends with its time, or where another case begins."""
        now_s = max(at_s, self._now_s)
        cases = job.part(event["start"], len(event["wall_ns"]))
        for case, wall, cpu in zip(cases, event["wall_ns"], cpu_times(event), strict=True):
            current = self._open
            if current is None or current.case != case or self._is_over(current, now_s):
                self._now_s = now_s
                self._close()
                current = self._open = _Open(case, now_s)
            current.wall_ns.append(wall)
            current.cpu_ns.append(cpu)
            now_s += wall / 1e9
        self._now_s = now_s

    def _is_over(self, current: _Open, now_s: float) -> bool:
        # Those that take turns have their inferences counted: one interval, however long it takes.
        return len(self._runs) == 1 and now_s - current.start_s >= self._plan.interval_s

    def _close(self) -> None:
        """End the interval that is open, and tell of it."""
        current, self._open = self._open, None
        if current is None or not current.wall_ns:
            return
        p50, p90, p99 = (percentile(current.wall_ns, q) for q in (50, 90, 99))
        interval = Interval(
            start_s=current.start_s,
            length_s=max(self._now_s - current.start_s, 1e-9),
            wall_ns=sum(current.wall_ns),
            cpu_ns=sum(current.cpu_ns),
            p50_ns=p50,
            p90_ns=p90,
            p99_ns=p99,
            cpu_p50_ns=percentile(current.cpu_ns, 50),
            bins=sketch.bins_of(current.wall_ns),
        )
        self._intervals[current.case].append(interval)
        self._tell(current.case)
        name = self._runs[current.case].entry.slug
        self._listener.step(f"{name}: {interval.stop_s:.0f} s, p50 {p50 / 1e6:.3f} ms")

    def _end(self, why: str) -> None:
        self._ended = why
        self._close()
        for case, intervals in enumerate(self._intervals):
            if intervals:
                self._tell(case)

    def _tell(self, case: int) -> None:
        plan = self._plan
        known = Sustained(
            started_at=self._started_at,
            asked_s=plan.sustained_s,
            interval_s=plan.interval_s,
            accuracy=sketch.ACCURACY,
            alternating=len(self._runs) > 1,
            intervals=tuple(self._intervals[case]),
            moments=self._watch.moments(self._zero or 0.0),
            gaps=tuple(self._gaps),
            ended=self._ended,
        )
        self._grown(self._runs[case].entry.slug, known)

    def _await(self, error: DeviceUnavailable) -> None:
        """Wait for a device that is lost.

        Raises:
            DeviceUnavailable: nothing was measured yet, or it did not come back.
        """
        if self._zero is None:
            raise error
        self._close()
        if not self._gaps or self._gaps[-1].length_s:
            self._gaps.append(Gap(self._now_s, 0.0, error.message))
            # A device that answers and cannot work is still gone.
            self._until = self._clock() + PATIENCE_S
        self._listener.step(f"{self._name}: the device is lost; waiting for it")
        left_s = self._plan.sustained_s - self._elapsed_s()
        until = min(self._until, self._clock() + left_s)
        while self._clock() < until:
            self._sleep(POLL_S)
            with contextlib.suppress(DeviceUnavailable):
                self._link.again()
                self._listener.step(f"{self._name}: the device is back")
                return
        raise error


def _order(runs: Sequence[Progress], plan: Plan) -> tuple[int, ...]:
    """Return the order that is repeated: of several cases, about an interval of each."""
    if len(runs) == 1:
        return (0,)
    counts = [max(1, round(plan.interval_s * 1e9 / max(r.estimate_ns, 1.0))) for r in runs]
    return tuple(case for case, count in enumerate(counts) for _ in range(count))


class Watch(threading.Thread):
    """Reads a device's state again and again while it works; what cannot be read is left out.

    Args:
        link: an open link.
        every_s: seconds between two readings.
        clock: seconds.
    """

    def __init__(self, link: Link, every_s: float, clock: Clock) -> None:
        super().__init__(daemon=True)
        self._link, self._every_s, self._clock = link, every_s, clock
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._taken: list[tuple[float, DeviceState]] = []

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(5.0)

    def run(self) -> None:
        """Read until it is over."""
        while not self._over.is_set():
            began = self._clock()
            # A device that is gone is the job's business; the link may be closing.
            with contextlib.suppress(MvdeployError, ValueError, OSError):
                state = self._link.state()
                kept = {k: v for k, v in state.readings.items() if k in READINGS}
                moment = (began + self._clock()) / 2
                with self._lock:
                    self._taken.append((moment, DeviceState(state.taken_at, kept)))
            self._over.wait(self._every_s)

    def moments(self, zero: float) -> tuple[Moment, ...]:
        """Return what was read from a moment on.

        Args:
            zero: that moment, by the clock.
        """
        with self._lock:
            return tuple(Moment(at - zero, state) for at, state in self._taken if at >= zero)
