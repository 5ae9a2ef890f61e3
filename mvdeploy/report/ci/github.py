"""A run in short, as the Markdown that GitHub shows of a step of a workflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.report import prose
from mvdeploy.report.ci import Check, Outcome
from mvdeploy.report.renderers.markdown import escape
from mvdeploy.report.tables.table import tagged
from mvdeploy.text_format import NONE, count, elide, milliseconds

_MOST = 40
"""Rows of a table; GitHub leaves out a summary of more than 1 MiB."""

_LONGEST = 400
"""Letters of a cell."""

_ANSWERS = 5
"""Sentences before the first table."""


def text(view: View, checks: Sequence[Check]) -> str:
    """Return the summary of a run, which may stand after others."""
    lines = [f"## {_heading(view, checks)}", ""]
    answers = (*prose.rankings(view), *prose.comparisons(view), *prose.outputs(view))
    for answer in answers[:_ANSWERS]:
        lines += [_cell(answer), ""]
    lines += _checks([check for check in checks if check.bad or check.name.startswith("gate ")])
    lines += _latencies(view)
    return "\n" + "\n".join(lines) + "\n"


def _heading(view: View, checks: Sequence[Check]) -> str:
    bad = sum(check.bad for check in checks)
    demanded = any(check.name.startswith("gate ") or check.name == "reliable" for check in checks)
    if bad:
        said = f"{count(bad, 'check')} of {len(checks)} failed"
    else:
        said = "all checks passed" if demanded else count(len(view.measured), "case") + " measured"
    return f"mvdeploy: {said}"


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    if not checks:
        return
    yield "| | check | case | what was found |"
    yield "| --- | --- | --- | --- |"
    # What failed is seen first.
    for check in sorted(checks, key=lambda check: not check.bad)[:_MOST]:
        mark = "✅" if check.outcome is Outcome.PASSED else "❌"
        name = check.name.removeprefix("gate ")
        said = " ".join(filter(None, (check.sentence, check.note)))
        yield _row(f"{mark} {check.outcome}", name, check.case, said)
    yield from _more(len(checks) - _MOST, "check")
    yield ""


def _latencies(view: View) -> Iterator[str]:
    if not view.cases:
        return
    yield "| case | engine | p50, ms | 95 % interval within this run | p90, ms | verdict |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for case in view.cases[:_MOST]:
        yield _latency(view, case)
    yield from _more(len(view.cases) - _MOST, "case")
    yield ""


def _latency(view: View, case: CaseView) -> str:
    head = tagged(view, case), case.engine or NONE
    if case.timing is None:
        return _row(*head, NONE, NONE, NONE, f"not measured: {case.reason}")
    interval = case.timing.interval
    return _row(
        *head,
        milliseconds(case.timing.wall.p50),
        f"{milliseconds(interval.low)}–{milliseconds(interval.high)}" if interval else NONE,
        milliseconds(case.timing.wall.p90),
        str(case.verdict.grade) if case.verdict else "in turns only",
    )


def _more(left_out: int, noun: str) -> Iterator[str]:
    if left_out > 0:
        yield ""
        yield f"{count(left_out, noun)} more: the report has all."


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return escape(elide(text, _LONGEST))
