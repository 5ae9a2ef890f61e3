"""What the first answer after a start costs, in sentences."""

from __future__ import annotations

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.first_run import PART_TITLES, FirstRunView, first_run_view
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import tagged
from mvdeploy.text_format import clean, join, megabytes, milliseconds, percent, signed_milliseconds


def sentences(view: View) -> tuple[str, ...]:
    """Say of each case how long the first answer takes, and what takes longest of it."""
    found = [(case, first_run_view(case)) for case in view.cases]
    return tuple(_sentence(view, case, one) for case, one in found if one is not None)


def _sentence(view: View, case: CaseView, found: FirstRunView) -> str:
    parts = found.parts
    total = sum(part.p50 for part in parts.values())
    longest, *others = (
        f"{PART_TITLES[key]} ({milliseconds(part.p50)} ms, {percent(part.p50 / total, 0)})"
        for key, part in parts.items()
    )
    if found.longest:
        told = f"What takes longest is {longest}, then {join(others)}."
    else:
        told = f"That is {join([longest, *others])}; which takes longest these starts do not tell."
    times = found.first_to_steady
    steady = f" The first inference takes {times:.2g} times a steady one." if times else ""
    cold = f", {milliseconds(found.cold.answered.p50)} ms without it there" if found.cold else ""
    return (
        f"{tagged(view, case)}: the first answer after a start takes "
        f"{milliseconds(found.warm.answered.p50)} ms with its file in the system's cache{cold}. "
        f"{told}{steady} {_reading(found)}{_imported(found)}"
    )


def _reading(found: FirstRunView) -> str:
    if found.reading is None:
        reason = clean(found.record.no_cold)
        return f"A start without the file in the system's cache is unavailable: {reason}."
    size, interval = megabytes(found.record.size_bytes), found.reading.interval
    if interval is None:
        return f"These starts are too few to tell what reading its {size} MB from the disk takes."
    within = f"{signed_milliseconds(interval.low)} to {signed_milliseconds(interval.high)} ms"
    if not found.reading_is_seen:
        return f"Reading its {size} MB from the disk makes no difference that shows ({within})."
    return f"Reading is of {size} MB that are not in the system's cache ({within})."


def _imported(found: FirstRunView) -> str:
    known = found.warm.imported
    if known is None:
        return ""
    return f" Importing the engine's library takes {milliseconds(known.p50)} ms beside."
