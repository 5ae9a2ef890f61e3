"""Findings of a run, each with the cases that it is about; reports put them into words."""

from __future__ import annotations

import dataclasses

from mvdeploy.records import Finding, Level

_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}


@dataclasses.dataclass(frozen=True)
class ViewFinding:
    """A finding and what it is about.

    Attributes:
        finding: what was found.
        subjects: names of the cases or comparisons; empty for the run as a whole.
    """

    finding: Finding
    subjects: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """How much it matters."""
        return self.finding.level

    @property
    def code(self) -> str:
        """What was found."""
        return self.finding.code

    @property
    def values(self) -> dict[str, str | int | float]:
        """The figures."""
        return self.finding.values


def collect(
    run: tuple[Finding, ...], subjects: tuple[tuple[str, tuple[Finding, ...]], ...]
) -> tuple[ViewFinding, ...]:
    """Put the findings of a run together, gravest first, the same of several cases as one.

    Args:
        run: of the run as a whole.
        subjects: name of a case or comparison, and its findings.
    """
    together: dict[str, tuple[Finding, list[str]]] = {}
    for name, findings in subjects:
        for finding in findings:
            together.setdefault(repr(finding), (finding, []))[1].append(name)
    collected = [ViewFinding(finding) for finding in run]
    collected += [ViewFinding(one, tuple(dict.fromkeys(names))) for one, names in together.values()]
    return tuple(sorted(collected, key=lambda one: _ORDER[one.level]))
