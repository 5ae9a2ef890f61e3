"""The whole pipeline of the cases of a run, timed stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mvdeploy import links, tasks
from mvdeploy.errors import EngineError, MvdeployError
from mvdeploy.pipeline.stages import beside, steps
from mvdeploy.pipeline.store import Store
from mvdeploy.records import Artifact, Case, Finding, Level, Plan
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.records.stages import Stages, StagesJob, StagesSession, decoded_said
from mvdeploy.timing import schedule
from mvdeploy.timing.case import Entry

OnStep = Callable[[str], None]

_MODULE = "mvdeploy.pipeline.stages.runner"
_LIMIT_S = 300.0


def measure(
    entries: Sequence[Entry],
    link: links.Link,
    plan: Plan,
    store: Store,
    picture: Path,
    on_step: OnStep = lambda _: None,
) -> None:
    """Time the stages of cases, which take turns process by process; keep them in the store.

    What goes wrong with a case is a finding; its latency stands without.

    Args:
        entries: cases that are on the device.
        link: open; only on this machine is there a program for all stages.
        plan: as many sessions as it has, each as long.
        store: the run.
        picture: an image file.
        on_step: is told what begins that takes a while.
    """
    left: dict[str, Entry] = {}
    for entry in entries:
        reason = _unfit(entry, link, store)
        if reason:
            store.update(entry.slug, stages=Stages(unavailable=reason))
        else:
            left[entry.slug] = entry
    found: dict[str, list[dict[str, Any]]] = {slug: [] for slug in left}
    counts = schedule.split(plan.iterations, plan.sessions) if plan.iterations else None
    for number in range(plan.sessions):
        # Reversed every second time, as sessions of engines are: neither is always the first.
        order = [*left] if number % 2 == 0 else [*reversed(left)]
        for slug in order:
            if counts is not None and not counts[number]:
                continue
            on_step(f"{slug}: the whole pipeline, {number + 1} of {plan.sessions}")
            try:
                job = _job(left[slug], _artifact(store.case(slug)), plan, picture)
                passes = counts[number] if counts is not None else None
                job = dataclasses.replace(job, passes=passes)
                (event,) = beside.told(_MODULE, job, plan.time_limit_s or _limit(job))
                found[slug].append(event)
                store.update(slug, stages=_stages(_artifact(store.case(slug)), found[slug]))
            except MvdeployError as error:
                del left[slug]
                failed = Finding("pipeline_failed", Level.WARNING, {"reason": error.message})
                store.found_of(slug, failed)


def _unfit(entry: Entry, link: links.Link, store: Store) -> str:
    """Return why a case has no pipeline that could be timed; empty where it has one."""
    if link.profile.link != "host":
        return (
            f"the program that runs on {link.profile.title} has the engine but no stages around "
            "it, and those of this machine are not that device's; its inference is the latency"
        )
    return steps.unfit(_artifact(store.case(entry.slug)))


def _artifact(case: Case) -> Artifact:
    if case.artifact is None:
        raise ValueError(f"case {case.slug} is on the device but has no manifest")
    return case.artifact


def _job(entry: Entry, artifact: Artifact, plan: Plan, picture: Path) -> StagesJob:
    model = dataclasses.replace(entry.model, outputs_to=None, profile_to=None)
    return StagesJob(
        model,
        artifact,
        str(picture.resolve()),
        entry.threads or plan.threads,
        plan.warmup,
        None,
        max(plan.session_time_s, 0.1),
        plan.cores,
    )


def _limit(job: StagesJob) -> float:
    return _LIMIT_S + 10 * (job.seconds + job.warmup.max_seconds) + (job.passes or 0)


def _stages(artifact: Artifact, events: Sequence[dict[str, Any]]) -> Stages:
    """Put together what the processes printed; what they say of the picture is the last one's."""
    last = events[-1]
    try:
        sessions = tuple(
            decode(
                StagesSession,
                {field.name: event[field.name] for field in dataclasses.fields(StagesSession)},
                "the stages",
            )
            for event in events
        )
        known = tasks.finish(tasks.get(artifact.spec.task))
        return Stages(
            program=str(last["program"]),
            picture=str(last["picture"]),
            batch=artifact.spec.batch,
            finish=known[0] if known is not None else "",
            sessions=sessions,
            said=decoded_said(last["said"]),
            wanted=decoded_said(last["wanted"]),
            difference=max(float(event["difference"]) for event in events),
            repeats=max(float(event["repeats"]) for event in events),
        )
    except (RecordError, LookupError, TypeError, ValueError) as error:
        raise EngineError(
            f"The stages that came back cannot be used ({error}).",
            "Check that all of mvdeploy is of one release.",
        ) from error
