"""Cases under load that does not end: what of it is kept, also when it ends early."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files.writing import NotWritten
from mvdeploy.links import Link
from mvdeploy.pipeline.judge import Judge
from mvdeploy.pipeline.prepare import Preparation
from mvdeploy.pipeline.store import Store
from mvdeploy.records import Case, Finding, Level, Plan, Sustained
from mvdeploy.timing.case import Entry
from mvdeploy.timing.sessions import Listener
from mvdeploy.timing.sustained import sustain


def check(plan: Plan, cases: Sequence[Case]) -> None:
    """Refuse cases that cannot take turns in one process.

    Raises:
        UsageError: says which differ.
    """
    if not plan.alternate:
        return
    if len(cases) < 2:
        raise UsageError(
            "There is one case, which has nothing to take turns with.", "Leave --alternate out."
        )
    for what, found in (
        ("engines", {case.engine for case in cases}),
        ("numbers of threads", {case.threads for case in cases}),
    ):
        if len(found) > 1:
            raise UsageError(
                f"Cases of {len(found)} {what} cannot take turns within one process: "
                f"{', '.join(sorted(map(str, found)))}.",
                "Leave --alternate out, so that each case has all of its time alone.",
            )


def measure(
    preparation: Preparation,
    entries: Sequence[Entry],
    link: Link,
    plan: Plan,
    on_step: Callable[[str], None],
) -> None:
    """Run the cases that are on the device for as long as the plan says.

    What is lost with the device is told of the cases it concerns; what was measured is kept.

    Raises:
        DeviceUnavailable: the device is gone, and nothing was measured.
    """
    store = preparation.store
    if plan.alternate and len({entry.setting for entry in entries}) > 1:
        raise UsageError(
            "Settings of the whole device cannot change within one process.",
            "Leave --alternate out, or '--fixed-performance both'.",
        )
    judge = Judge(store, link, preparation.network, preparation.emulation, preparation.reference)
    listener = Listener(store.measured, store.failed, on_step, loaded=judge)

    def grown(slug: str, known: Sustained) -> None:
        store.update(slug, sustained=known)

    try:
        sustain(entries, link, plan, listener, grown)
    except DeviceUnavailable as error:
        _keep(store, entries, error)
    except KeyboardInterrupt:
        left = [case.slug for case in store.cases if not _is_whole(case)]
        with contextlib.suppress(NotWritten):
            values: dict[str, str | int | float] = {"cases": ", ".join(left) or "none"}
            store.found(Finding("interrupted", Level.ERROR, values))
        raise


def _keep(store: Store, entries: Sequence[Entry], lost: DeviceUnavailable) -> None:
    """Save why there is no more of the cases that are not finished.

    Raises:
        DeviceUnavailable: there is nothing to keep.
    """
    for entry in entries:
        case = store.case(entry.slug)
        if case.failure is None and not _is_whole(case):
            store.failed(entry.slug, lost)
    if not any(case.sustained for case in store.cases):
        raise lost


def _is_whole(case: Case) -> bool:
    return case.sustained is not None and not case.sustained.ended
