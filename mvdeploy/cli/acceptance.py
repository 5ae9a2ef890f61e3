"""What is demanded of a result: gates, reliability, a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy.cli.ci_files import CiFiles
from mvdeploy.errors import MvdeployError, UsageError

if TYPE_CHECKING:
    from mvdeploy.analysis.gates import Gate, GateResult
    from mvdeploy.analysis.view import View
    from mvdeploy.records import Baseline

_CHECK_FAILED = 1


@dataclasses.dataclass(frozen=True)
class Demands:
    """What is demanded of a result, and what it is held against.

    Attributes:
        gates: limits.
        reliable: whether every result has to be reliable.
        baseline: an earlier result.
        keep: where the result is kept as a baseline, if it passes.
        files: what a CI is shown of it.
    """

    gates: tuple[Gate, ...]
    reliable: bool
    baseline: Baseline | None = None
    keep: Path | None = None
    files: CiFiles | None = None

    @classmethod
    def read(
        cls,
        fail_on: Sequence[str],
        reliable: bool,
        baseline: Path | None = None,
        keep: Path | None = None,
        files: CiFiles | None = None,
    ) -> Demands:
        """Read gates and baseline.

        Raises:
            UsageError: one of them is none, or the new baseline has no place.
        """
        gates: tuple[Gate, ...] = ()
        if fail_on:
            from mvdeploy.analysis.gate_syntax import METRICS, parse

            gates = tuple(map(parse, fail_on))
            for gate in gates:
                if gate.metric not in METRICS:
                    click.echo(
                        f"The gate {gate} is about a category that mvdeploy does not know by "
                        "itself; whether the network has it is seen when it has run.",
                        err=True,
                    )
        if keep is not None and (keep.is_dir() or not keep.absolute().parent.is_dir()):
            raise UsageError(
                f"The baseline cannot be kept as {keep}, which is no file in a folder.",
                "Give the name of a file with --save-baseline.",
            )
        if baseline is None:
            return cls(gates, reliable, keep=keep, files=files)
        from mvdeploy.records.baseline import load_baseline

        return cls(gates, reliable, load_baseline(baseline), keep, files)

    def check_reference(self, *, comparing: bool, pipeline: bool = False) -> None:
        """Refuse gates that will have nothing to be held against.

        Args:
            comparing: whether cases will take turns.
            pipeline: whether the whole pipeline will be timed.

        Raises:
            UsageError: a gate has no reference, or is about what is not measured.
        """
        if self.gates:
            from mvdeploy.analysis.gates import demand_pipeline, demand_reference

            if not pipeline:
                demand_pipeline(self.gates)
            known = self.baseline is not None
            demand_reference(self.gates, baseline=known, comparing=comparing)

    def results(self, view: View) -> tuple[GateResult, ...]:
        """Hold a result against the gates.

        Raises:
            UsageError: one of them cannot be decided.
        """
        if not self.gates:
            return ()
        from mvdeploy.analysis.gates import check

        return check(self.gates, view, self.baseline)

    def failures(self, view: View, results: Sequence[GateResult]) -> list[str]:
        """Return one line on everything that does not come up to what is demanded."""
        lines: list[str] = []
        for result in results:
            line = " ".join(filter(None, (f"Gate {result.sentence}", result.note)))
            if result.passed:
                click.echo(line, err=True)
            else:
                lines.append(line)
        if self.reliable:
            from mvdeploy.report.wording import unreliable

            lines += unreliable(view)
        return lines

    def settle(self, view: View) -> int:
        """Hold a result against the demands, keep it if asked to; return the exit status.

        Raises:
            UsageError: a gate cannot be decided.
            NotWritten: a file cannot be written.
        """
        try:
            results = self.results(view)
        except MvdeployError as error:
            self._tell(view, (), error)
            raise
        lines = self.failures(view, results)
        for line in lines:
            click.echo(line, err=True)
        if self.keep is not None and not lines:
            from mvdeploy.analysis.baselines import baseline_of
            from mvdeploy.records.baseline import save_baseline

            save_baseline(baseline_of(view), self.keep)
            click.echo(f"Baseline: {self.keep}", err=True)
        elif self.keep is not None:
            click.echo(f"The baseline {self.keep} was left as it was.", err=True)
        self._tell(view, results)
        return _CHECK_FAILED if lines else 0

    def _tell(
        self, view: View, results: Sequence[GateResult], refused: MvdeployError | None = None
    ) -> None:
        if self.files is not None and self.files.asked:
            from mvdeploy.report.ci import checks

            found = checks(view, results, reliable=self.reliable, refused=refused)
            self.files.write(view, found)
