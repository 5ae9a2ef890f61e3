"""``--junit`` and ``--github-summary``: what a CI shows of a run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.files import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mvdeploy.analysis.view import View
    from mvdeploy.report.ci import Check

VARIABLE = "GITHUB_STEP_SUMMARY"


@dataclasses.dataclass(frozen=True)
class CiFiles:
    """Where the checks of a run are written to.

    Attributes:
        junit: as JUnit XML; None for nowhere.
        summary: the file that a summary is appended to; None for nowhere.
    """

    junit: Path | None = None
    summary: Path | None = None

    @classmethod
    def read(cls, junit: Path | None, github_summary: bool) -> CiFiles:
        """Check the options before anything is measured.

        Raises:
            UsageError: one of the files has no place.
        """
        if junit is not None and _no_place(junit):
            raise UsageError(
                f"The checks cannot be written as {junit}, which is no file in a folder.",
                "Give the name of a file with --junit.",
            )
        if not github_summary:
            return cls(junit)
        named = os.environ.get(VARIABLE, "")
        if not named:
            raise UsageError(
                f"--github-summary appends to the file that {VARIABLE} names, and that is not set.",
                "Leave it out outside of GitHub's workflows, or set the variable to a file.",
            )
        if _no_place(Path(named)):
            raise UsageError(
                f"{VARIABLE} names {named}, which is no file in a folder.",
                "Set it to the name of a file.",
            )
        return cls(junit, Path(named))

    @property
    def asked(self) -> bool:
        """Whether anything is to be written."""
        return self.junit is not None or self.summary is not None

    def write(self, view: View, checks: Sequence[Check]) -> None:
        """Write what was asked for.

        Raises:
            NotWritten: a file cannot be written; what comes after it is not.
        """
        if self.junit is not None:
            from mvdeploy.report.ci import junit

            writing.text(
                self.junit, junit.text(view, checks), remedy="Give another FILE with --junit."
            )
        if self.summary is not None:
            from mvdeploy.report.ci import github

            # Others write to the file too: it is added to, not replaced.
            with writing.worded(self.summary), self.summary.open("ab") as file:
                file.write(github.text(view, checks).encode())


def _no_place(path: Path) -> bool:
    return path.is_dir() or not path.absolute().parent.is_dir()
