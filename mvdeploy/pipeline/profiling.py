"""Profiles of the cases of a run, and what the profilers themselves cost."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mvdeploy import engines, links
from mvdeploy.errors import EngineError, MvdeployError
from mvdeploy.pipeline.prepare import Preparation
from mvdeploy.records import (
    Artifact,
    ChainTimes,
    Finding,
    Level,
    OperatorTimes,
    Plan,
    ProfilerCost,
    TimeKind,
    Trace,
)
from mvdeploy.timing.case import Entry
from mvdeploy.timing.profile import Profile, profile

OnStep = Callable[[str], None]

_CHAINS = ("linear_chain_24", "linear_chain_120")
"""Networks of the same small operator, a few times and many times."""

_STRETCHES, _EACH = 5, 40
"""Stretches of time into which the chains' inferences are divided, and inferences of each."""


class Profiling:
    """Profiles cases, and saves what came of it as their traces.

    Args:
        preparation: with the run that is going on, and the networks that profilers are tried on.
        link: an open link to the device.
        plan: how.
        on_step: is told what begins.
    """

    def __init__(
        self, preparation: Preparation, link: links.Link, plan: Plan, on_step: OnStep
    ) -> None:
        self._preparation, self._store = preparation, preparation.store
        self._link, self._plan, self._on_step = link, plan, on_step
        self._costs: dict[tuple[str, str], ProfilerCost | None] = {}

    def run(self, entries: Sequence[Entry]) -> None:
        """Profile cases: those that are only compared in one job, others each in their own.

        What goes wrong is a finding; the measurement stands without it.
        """
        entries = [entry for entry in entries if self._has_profiler(entry)]
        if self._plan.pairs_only and len(entries) > 1:
            self._on_step("profile in turns")
            with contextlib.suppress(EngineError):  # alone, the case that failed says so itself
                profiles = profile(entries, self._link, self._plan)
                for entry in entries:
                    self._keep(entry, profiles)
                return
        for entry in entries:
            self._on_step(f"{entry.slug}: profile")
            try:
                self._keep(entry, profile([entry], self._link, self._plan))
            except MvdeployError as error:
                found = Finding("profile_failed", Level.WARNING, {"reason": error.message})
                self._store.found_of(entry.slug, found)

    def _has_profiler(self, entry: Entry) -> bool:
        """Say whether a case can be profiled; a finding says why not."""
        if reason := engines.no_profiler(entry.model.engine):
            found = Finding("no_profiler", Level.NOTE, {"reason": reason})
            self._store.found_of(entry.slug, found)
        return not reason

    def _keep(self, entry: Entry, profiles: Mapping[str, Profile]) -> None:
        """Fetch a profile, read it, and save it as a trace."""
        artifact = self._store.case(entry.slug).artifact
        if entry.slug not in profiles or artifact is None:
            return
        profiled = profiles[entry.slug]
        folder = self._store.folder / "cases" / entry.slug / "profile"
        times = self._read(entry, artifact, profiled, folder)
        kind = getattr(engines.get(entry.model.engine), "TIME_KIND", TimeKind.MEASURED)
        # Estimates are shares of the profiled inferences themselves: no profiler slows them.
        estimated = kind is TimeKind.ESTIMATED
        trace = Trace(
            engine=entry.model.engine,
            time_kind=kind,
            events=times.events,
            profiled_ns=profiled.profiled_ns,
            plain_ns=profiled.profiled_ns if estimated else profiled.plain_ns,
            findings=times.findings,
            cost=self._cost(entry) if self._plan.profiler_cost and not estimated else None,
        )
        self._store.update(entry.slug, trace=trace)

    def _read(
        self, entry: Entry, artifact: Artifact, profiled: Profile, folder: Path
    ) -> OperatorTimes:
        engine = engines.get(entry.model.engine)
        remote = Path(profiled.path)
        for name in (remote.name, *engine.PROFILE_COMPANIONS):
            self._link.fetch(str(remote.with_name(name)), folder / name)
        complete: Callable[[Path, Path], None] | None = getattr(engine, "complete_profile", None)
        if complete is not None:
            complete(Path(entry.model.path), folder)
        return engine.read_profile(artifact, folder / remote.name, profiled.runs)

    def _cost(self, entry: Entry) -> ProfilerCost | None:
        """Return what the profiler of a case's engine adds; None, with a finding, if it fails.

        It is measured once for each engine and setting of the device.
        """
        key = (entry.model.engine, entry.setting)
        if key not in self._costs:
            self._on_step(f"{entry.model.engine}: what its profiler costs")
            try:
                self._costs[key] = self._measured_cost(entry)
            except MvdeployError as error:
                self._costs[key] = None
                values: dict[str, str | int | float] = {
                    "engine": entry.model.engine,
                    "reason": error.message,
                }
                self._store.found(Finding("profiler_cost_unknown", Level.NOTE, values))
        return self._costs[key]

    def _measured_cost(self, case: Entry) -> ProfilerCost | None:
        chains = [
            self._preparation.beside(model, case.slug, setting=case.setting) for model in _CHAINS
        ]
        plan = dataclasses.replace(self._plan, profile_iterations=_STRETCHES * _EACH)
        entries = [entry for entry, _ in chains]
        profiles = profile(entries, self._link, plan)
        if any(entry.slug not in profiles for entry in entries):
            return None
        short, long = (
            _Chain(self._read(entry, artifact, profiles[entry.slug], self._folder(entry)), found)
            for entry, artifact in chains
            for found in (profiles[entry.slug],)
        )
        stretches = tuple(
            ChainTimes(*zip(short.medians(part), long.medians(part), strict=True))
            for part in (slice(i * _EACH, (i + 1) * _EACH) for i in range(_STRETCHES))
        )
        return ProfilerCost(_CHAINS, (short.operators, long.operators), stretches)

    def _folder(self, entry: Entry) -> Path:
        return self._store.folder / "profilers" / entry.slug


@dataclasses.dataclass(frozen=True)
class _Chain:
    """What was seen of one of the networks that profilers are tried on."""

    times: OperatorTimes
    whole: Profile

    @property
    def operators(self) -> int:
        """How many the profile has."""
        return len(self.times.events)

    def medians(self, part: slice) -> tuple[float, float, float]:
        """Return its operators' medians together, and those of an inference with and without."""
        operators = [float(statistics.median(e.samples_ns[part])) for e in self.times.events]
        profiled = float(statistics.median(self.whole.profiled_ns[part]))
        return sum(operators), profiled, float(statistics.median(self.whole.plain_ns[part]))
