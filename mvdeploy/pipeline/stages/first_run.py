"""What the first answer after a start costs: processes started anew, for the cases of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mvdeploy import links
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.pipeline.stages import beside
from mvdeploy.pipeline.store import Store
from mvdeploy.records import Artifact, Finding, Job, Level, Plan, Warmup
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.records.first_run import STILL_CACHED, FirstRun, Start, StartJob
from mvdeploy.timing.case import Entry

OnStep = Callable[[str], None]

_MODULE = "mvdeploy.runners.first_run"
_LIMIT_S = 300.0
_INFERENCES = 5


def measure(
    entries: Sequence[Entry],
    link: links.Link,
    plan: Plan,
    store: Store,
    starts: int,
    on_step: OnStep = lambda _: None,
) -> None:
    """Start cases anew, in turns, with their files in the system's cache and without.

    What goes wrong with a case is a finding; its latency stands without.

    Args:
        entries: cases that are on the device.
        link: open.
        plan: threads and cores.
        store: the run.
        starts: of each kind.
        on_step: is told what begins that takes a while.
    """
    cases = [_Case(entry, link, plan, _artifact(store, entry.slug)) for entry in entries]
    for number in range(starts):
        on_step(f"first runs, {number + 1} of {starts}")
        for case in [*cases]:
            try:
                # Neither kind always follows the other.
                for cold in (True, False) if number % 2 == 0 else (False, True):
                    case.start(cold=cold)
            except DeviceUnavailable:
                raise
            except MvdeployError as error:
                cases.remove(case)
                reason = error.message.rstrip(".")
                failed = Finding("first_run_failed", Level.WARNING, {"reason": reason})
                store.found_of(case.entry.slug, failed)
            else:
                store.update(case.entry.slug, first_run=case.record())


def _artifact(store: Store, slug: str) -> Artifact:
    artifact = store.case(slug).artifact
    if artifact is None:
        raise ValueError(f"case {slug} is on the device but has no manifest")
    return artifact


class _Case:
    """A case and its starts so far."""

    def __init__(self, entry: Entry, link: links.Link, plan: Plan, artifact: Artifact) -> None:
        self.entry, self._link, self._artifact = entry, link, artifact
        self._plan = dataclasses.replace(plan, threads=entry.threads or plan.threads)
        self._here = link.profile.link == "host"
        self._starts: list[Start] = []
        self._no_cold = (
            ""
            if self._here
            else f"the program on {link.profile.title} reads the whole file for its checksum "
            "before it loads it"
        )

    def record(self) -> FirstRun:
        """Return what is known."""
        return FirstRun(tuple(self._starts), self._artifact.size_bytes, self._no_cold)

    def start(self, *, cold: bool) -> None:
        """Start it once, unless that kind is not possible here.

        Raises:
            EngineError: it failed.
            DeviceUnavailable: the device is gone.
        """
        if cold and self._no_cold:
            return
        if not self._here:
            self._starts.append(self._there())
            return
        event = self._told(cold=cold)
        if cold and (reason := _still_cached(event)):
            self._no_cold = reason
            self._starts = [start for start in self._starts if not start.cold]
            return
        names = [field.name for field in dataclasses.fields(Start)]
        try:
            start = decode(Start, {name: event[name] for name in names}, "a start")
        except (RecordError, KeyError) as error:
            raise EngineError(
                f"What came back of a start cannot be used ({error}).",
                "Check that all of mvdeploy is of one release.",
            ) from error
        self._starts.append(start)

    def _told(self, *, cold: bool) -> dict[str, Any]:
        model = dataclasses.replace(self.entry.model, outputs_to=None, profile_to=None)
        paths = files_of(Path(model.path), self._artifact)
        plan = self._plan
        job = StartJob(model, paths, cold, plan.threads, _INFERENCES, plan.cores)
        (event,) = beside.told(_MODULE, job, plan.time_limit_s or _LIMIT_S)
        return event

    def _there(self) -> Start:
        """Have the device's own runner load the file in a new process."""
        plan = self._plan
        self._link.take(self.entry.setting)
        model = dataclasses.replace(self.entry.model, outputs_to=None, profile_to=None)
        warmup = Warmup(iterations=_INFERENCES - 1)
        job = Job((model,), (), plan.threads, warmup, plan.cores)
        (ran,) = self._link.run(job, plan.time_limit_s or _LIMIT_S).models
        times = (*ran.first.wall_ns, *ran.warmup.wall_ns)
        return Start(False, None, None, ran.load_ns, times)


def files_of(path: Path, artifact: Artifact) -> tuple[str, ...]:
    """Return the paths of all that is read of a model: its file, or what is in its folder."""
    own = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    beside_it = (path.with_name(name) for name in artifact.data)
    return tuple(str(p) for p in (*own, *beside_it) if p.exists())


def _still_cached(event: dict[str, Any]) -> str:
    """Return why a start was not cold, as a clause; empty when it was."""
    if event.get("reason"):
        return f"its files cannot be dropped from the system's cache ({event['reason']})"
    resident = event.get("resident")
    if not isinstance(resident, float | int):
        return "this system does not tell what is in its cache"
    if resident > STILL_CACHED:
        return (
            f"{100 * resident:.0f} % of its files stay in the system's cache, as where they lie in "
            "memory or another program has them open"
        )
    return ""
