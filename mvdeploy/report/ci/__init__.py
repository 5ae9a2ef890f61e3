"""What a CI shows of a run: JUnit XML, a summary on GitHub.

================  ==============================================================
`junit`           every check as a test case
`github`          a short Markdown summary for a step of a workflow
================  ==============================================================

Both show the same `Check` objects, which are made here. A run whose exit status is not 0 has one
at least that did not pass.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.gates import GateResult
from mvdeploy.analysis.view import View
from mvdeploy.errors import MvdeployError
from mvdeploy.report.wording import unreliable
from mvdeploy.stats.reliability import Grade


class Outcome(enum.StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Check:
    """Something that is demanded of a result; texts are as files and devices gave them.

    Attributes:
        case: what it is about, as reports print it.
        name: what is demanded, such as ``gate p50:5%``.
        outcome: what became of it.
        sentence: what was found, on one line; may be empty where it passed.
        note: what to know about it, or what to do; may be empty.
    """

    case: str
    name: str
    outcome: Outcome
    sentence: str = ""
    note: str = ""

    @property
    def bad(self) -> bool:
        """Whether the run's exit status is not 0 because of it."""
        return self.outcome in (Outcome.FAILED, Outcome.ERROR)


def checks(
    view: View,
    results: Sequence[GateResult],
    *,
    reliable: bool = False,
    refused: MvdeployError | None = None,
) -> tuple[Check, ...]:
    """Return everything that was demanded of a run.

    Args:
        view: the run.
        results: of its gates.
        reliable: whether every result has to be reliable.
        refused: why the gates could not be decided.
    """
    found = [check for case in view.cases for check in _of_case(case)]
    found += map(_of_gate, results)
    if reliable:
        found += _of_reliability(view)
    if refused is not None:
        said = refused.message, refused.remedy
        found.append(Check("gates", "decided", Outcome.ERROR, *said))
    return tuple(found)


def _of_case(case: CaseView) -> Iterator[Check]:
    failure, parity = case.case.failure, case.case.device_parity
    if failure is not None:
        said = failure.message, failure.remedy
        yield Check(case.name, "measured", Outcome.ERROR, *said)
    elif case.reason:
        said = case.reason, case.remedy
        yield Check(case.name, "measured", Outcome.SKIPPED, *said)
    else:
        yield Check(case.name, "measured", Outcome.PASSED)
    if parity is not None and parity.passed:
        yield Check(case.name, "outputs on the device", Outcome.PASSED)
    elif parity is not None:
        said = (
            "The device computes something else than the network.",
            "Do not use this latency; the report has the figures.",
        )
        yield Check(case.name, "outputs on the device", Outcome.FAILED, *said)


def _of_gate(result: GateResult) -> Check:
    outcome = Outcome.PASSED if result.passed else Outcome.FAILED
    found = result.sentence.removeprefix(f"{result.gate} {outcome}: ")
    return Check(result.name, f"gate {result.gate}", outcome, found, result.note)


def _of_reliability(view: View) -> Iterator[Check]:
    lines = iter(unreliable(view))
    for name, verdict in view.verdicts:
        if verdict.grade is Grade.UNRELIABLE:
            yield Check(name, "reliable", Outcome.FAILED, next(lines))
        else:
            yield Check(name, "reliable", Outcome.PASSED)
