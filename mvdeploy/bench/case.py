"""One case of a run: what it is, and what is known of it so far."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Sequence
from typing import Any

from mvdeploy.bench import schedule
from mvdeploy.records import (
    DeviceState,
    Finding,
    JobModel,
    JobResult,
    Measurement,
    Plan,
    Reading,
    Session,
)
from mvdeploy.stats import stopping
from mvdeploy.stats.interval import median_interval


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case as bench sees it.

    Attributes:
        slug: its name in the run.
        model: what a runner has to load.
    """

    slug: str
    model: JobModel


def by_engine(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group cases that can share a runner: engines' thread pools disturb each other."""
    ordered = sorted(entries, key=lambda e: e.model.engine)
    groups = itertools.groupby(ordered, key=lambda e: e.model.engine)
    return [list(group) for _, group in groups]


@dataclasses.dataclass
class Progress:
    """What is known of one case so far.

    Attributes:
        entry: the case.
        probe: what its job alone brought: load, first inference, warm-up.
        before: the device's state before that.
        sessions: its samples, session by session.
        findings: what happened to it.
    """

    entry: Entry
    probe: JobResult
    before: DeviceState
    sessions: list[Session] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)

    @property
    def estimate_ns(self) -> float:
        """Nanoseconds of one warm inference, about."""
        model = self.probe.models[0]
        return statistics.median((model.warmup.wall_ns or model.first.wall_ns)[-20:])

    def count(self, plan: Plan, number: int) -> int:
        """Return how often this case is to run in its blocks of a session; 0 when it has enough."""
        if plan.iterations is not None:
            shares = schedule.split(plan.iterations, plan.sessions)
            return shares[number] if number < plan.sessions else 0
        if plan.pairs_only or (number >= plan.sessions and self._stop(plan) is not None):
            return 0
        return max(1, round(plan.session_time_s * 1e9 / max(self.estimate_ns, 1.0)))

    def _stop(self, plan: Plan) -> stopping.Stop | None:
        samples = [session.steady.wall_ns for session in self.sessions]
        interval = median_interval(samples)
        return stopping.decide(
            interval.half_width_relative if interval else None,
            plan.target,
            sum(map(sum, samples)) / 1e9,
            plan.max_time_s,
            plan.session_time_s,
        )

    def measurement(self, plan: Plan, after: DeviceState) -> Measurement:
        """Put together what is known, with the device's state as it is now."""
        model = self.probe.models[0]
        return Measurement(
            engine=self.entry.model.engine,
            conditions=_conditions(self.probe, self.entry, plan),
            sessions=tuple(self.sessions),
            load_ns=model.load_ns,
            first=model.first,
            peak_memory_bytes=self.probe.peak_memory,
            baseline_memory_bytes=model.memory_before,
            before=self.before,
            after=after,
            findings=tuple(self.findings),
        )


def _conditions(result: JobResult, entry: Entry, plan: Plan) -> dict[str, Reading]:
    hello = result.hello
    engine = entry.model.engine
    clock = hello.get("clock", {}).get("wall", {})
    return {
        "engine": engine,
        "engine_version": str(hello.get("engines", {}).get(engine, "unavailable")),
        "engine_options": _options(hello.get("engine_options", {}).get(engine)),
        "runner": _runner(hello),
        "threads": plan.threads,
        "cores": tuple(str(core) for core in hello.get("cores") or ()) or "unavailable",
        "clock": str(clock.get("implementation", "unavailable")),
        "clock_resolution_s": clock.get("resolution_s", "unavailable"),
        **entry.model.options,
        "artifact_sha256": entry.model.sha256,
        "output_sha256": result.models[0].output_sha256,
    }


def _runner(hello: dict[str, Any]) -> str:
    build = f"({hello['build']} build)" if "build" in hello else ""
    words = (hello.get("runner", "unavailable"), hello.get("mvdeploy", ""), build)
    return " ".join(str(word) for word in words if word)


def _options(options: dict[str, str | int] | None) -> Reading:
    if not options:
        return "unavailable"
    return tuple(f"{name}={value}" for name, value in options.items())
