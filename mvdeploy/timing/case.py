"""One case of a run: what it is, and what is known of it so far."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mvdeploy.errors import EngineError
from mvdeploy.records import (
    UNAVAILABLE,
    DeviceState,
    Finding,
    JobModel,
    JobResult,
    Level,
    Measurement,
    ModelResult,
    Plan,
    Reading,
    Session,
    TensorInfo,
)
from mvdeploy.records.tensor import ANY_SHAPE
from mvdeploy.stats import stopping
from mvdeploy.stats.interval import median_interval
from mvdeploy.timing import schedule


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case as bench sees it.

    Attributes:
        slug: its name in the run.
        model: what a runner has to load.
        outputs: what it must compute; empty when that is not known.
        finite: whether its outputs have to be finite: those of a sound network on a picture are.
        setting: the setting of the device that it runs in; see `mvdeploy.links.Setting`.
        threads: inference threads; None for the plan's.
        group: cases of one are compared across engines, as those of one precision.
    """

    slug: str
    model: JobModel
    outputs: tuple[TensorInfo, ...] = ()
    finite: bool = True
    setting: str = ""
    threads: int | None = None
    group: str = ""

    def check_outputs(self, result: ModelResult) -> None:
        """Check that the outputs of an inference can be those of this case.

        Raises:
            EngineError: one is missing, has another shape, or is not finite.
        """
        for output in self.outputs if result.output_shapes else ():
            shape = result.output_shapes.get(output.name)
            if shape is None:
                raise self._wrong(
                    f"gives no output '{output.name}' (it gives {_listed(result.output_shapes)})"
                )
            if not _fits(shape, output.shape):
                raise self._wrong(
                    f"gives '{output.name}' in the shape {_times(shape)}, not "
                    f"{_times(output.shape)}"
                )
        if result.finite is False and self.finite:
            names = _listed(result.output_shapes)
            raise self._wrong(f"gives outputs ({names}) with values that are no finite numbers")

    def _wrong(self, what: str) -> EngineError:
        return EngineError(
            f"{self.model.engine} does not compute {self.slug}: on this device it {what}.",
            "Its latency would mean nothing: use another engine, format or precision, or report "
            "this to the engine's developers.",
        )


def _fits(shape: Sequence[int], expected: Sequence[int | str]) -> bool:
    return tuple(expected) == ANY_SHAPE or (
        len(shape) == len(expected)
        and all(
            isinstance(wanted, str) or size == wanted
            for size, wanted in zip(shape, expected, strict=True)
        )
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"


def _times(shape: Sequence[int | str]) -> str:
    return "×".join(map(str, shape)) or "of a single number"


def by_engine(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group cases that can share a runner: engines' thread pools disturb each other."""
    groups: dict[tuple[str, int], list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: (e.model.engine, e.threads or 0)):
        groups.setdefault((entry.model.engine, entry.threads or 0), []).append(entry)
    return list(groups.values())


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

    def check_checksum(self, result: ModelResult, session: int) -> None:
        """Keep one finding of all sessions that computed other outputs than the probe."""
        if result.output_sha256 == self.probe.models[0].output_sha256:
            return
        code = "outputs_differ"
        earlier = next((f for f in self.findings if f.code == code), None)
        if earlier is None:
            values: dict[str, str | int | float] = {"session": session, "count": 1}
            self.findings.append(Finding(code, Level.WARNING, values))
        else:
            values = {**earlier.values, "count": int(earlier.values["count"]) + 1}
            self.findings[self.findings.index(earlier)] = Finding(code, Level.WARNING, values)

    def found_once(self, finding: Finding) -> None:
        """Keep a finding, unless it is there already."""
        if finding not in self.findings:
            self.findings.append(finding)

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
        return self.block_count(plan)

    def block_count(self, plan: Plan) -> int:
        """Return how many inferences take about as long as a session's blocks are to."""
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
            # What is out of reach is unreliable sooner or later; a ratio goes on, as a narrower
            # interval finds more.
            give_up=True,
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
    clock, cpu = (hello.get("clock", {}).get(kind, {}) for kind in ("wall", "cpu"))
    sums, adapters = hello.get("engine_sha256", {}), hello.get("adapters", {})
    return {
        "engine": engine,
        "engine_version": str(hello.get("engines", {}).get(engine, UNAVAILABLE)),
        # Of engines that are files which the device is given, as those of browsers.
        **({"engine_sha256": str(sums[engine])} if engine in sums else {}),
        **({"adapter": str(adapters[engine])} if engine in adapters else {}),
        "engine_options": _options(hello.get("engine_options", {}).get(engine)),
        "runner": _runner(hello),
        "threads": plan.threads,
        "cores": tuple(str(core) for core in hello.get("cores") or ()) or UNAVAILABLE,
        "clock": str(clock.get("implementation", UNAVAILABLE)),
        "clock_resolution_s": clock.get("resolution_s", UNAVAILABLE),
        **_cpu_clock(cpu),
        **({"chosen_options": _options(entry.model.options)} if entry.model.options else {}),
        "artifact_sha256": entry.model.sha256,
        "output_sha256": result.models[0].output_sha256,
    }


def _cpu_clock(told: Mapping[str, Any]) -> dict[str, Reading]:
    """Return which clock the CPU times are by, for runners that tell."""
    if "implementation" not in told:
        return {}
    return {
        "cpu_clock": str(told["implementation"]),
        "cpu_clock_resolution_s": told.get("resolution_s", UNAVAILABLE),
    }


def _runner(hello: dict[str, Any]) -> str:
    build = f"({hello['build']} build)" if "build" in hello else ""
    words = (hello.get("runner", UNAVAILABLE), hello.get("mvdeploy", ""), build)
    return " ".join(str(word) for word in words if word)


def _options(options: Mapping[str, str | int] | None) -> Reading:
    if not options:
        return UNAVAILABLE
    return tuple(f"{name}={value}" for name, value in options.items())
