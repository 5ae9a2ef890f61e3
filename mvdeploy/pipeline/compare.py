"""Two saved results → what can be said of them, which is less than of two that took turns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mvdeploy.analysis.baselines import baseline_of, counterpart, estimate_ratio
from mvdeploy.analysis.comparability import demand_alike
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import report
from mvdeploy.records import Baseline, BaselineCase
from mvdeploy.records.baseline import load_baseline
from mvdeploy.stats import unpaired

WARNING = (
    f"These were measured at different times: a difference below {100 * unpaired.BLIND:g} % says "
    "nothing, because two runs of the same model can differ as much. 'mvdeploy compare' of the two "
    "exported files, in turns, decides."
)


@dataclasses.dataclass(frozen=True)
class ResultComparison:
    """Two cases of different runs.

    Attributes:
        a: label of the reference, with its run.
        b: label of the other, with its run.
        estimate: time of B divided by that of A.
    """

    a: str
    b: str
    estimate: unpaired.UnpairedEstimate

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        estimate = self.estimate
        if estimate.verdict in ("faster", "slower"):
            verdict = f"{self.b} is {estimate.verdict} than {self.a}"
        else:
            verdict = f"No difference detected between {self.b} and {self.a}"
        return (
            f"{verdict} (ratio of p50 {estimate.ratio:.3f}, {100 * estimate.level:.0f} % interval "
            f"{estimate.low:.3f}–{estimate.high:.3f}, wall time, not paired)."
        )

    @property
    def warning(self) -> str:
        """What the reader of any such comparison has to know."""
        return WARNING

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "verdict": self.estimate.verdict,
            "paired": False,
            "estimate": dataclasses.asdict(self.estimate),
            "summary": self.sentence,
            "warning": WARNING,
        }


def compare_results(a: Path, b: Path) -> tuple[ResultComparison, ...]:
    """Compare the cases that two results share.

    Args:
        a: folder of a run, or a baseline; the reference.
        b: the other.

    Raises:
        UsageError: one of them cannot be read, they share no case, or were measured under
            different conditions.
    """
    return compare_baselines(_read(a), _read(b))


def compare_baselines(first: Baseline, second: Baseline) -> tuple[ResultComparison, ...]:
    """Compare the cases that two results share; the first is the reference.

    Raises:
        UsageError: they share no case, or were measured under different conditions.
    """
    return tuple(_compare(first, x, second, y) for x, y in _pairs(first, second))


def _read(path: Path) -> Baseline:
    return baseline_of(report.view(path)) if path.is_dir() else load_baseline(path)


def _pairs(a: Baseline, b: Baseline) -> list[tuple[BaselineCase, BaselineCase]]:
    pairs = [(case, counterpart(case, len(a.cases), b)) for case in a.cases]
    shared = [(case, other) for case, other in pairs if other is not None]
    if not shared:
        slugs = " and ".join(", ".join(c.slug for c in cases) for cases in (a.cases, b.cases))
        raise UsageError(
            f"The two results have no case in common ({slugs}).",
            "Measure both in one run: 'mvdeploy compare' with the two exported files.",
        )
    return shared


def _compare(
    first: Baseline, a: BaselineCase, second: Baseline, b: BaselineCase
) -> ResultComparison:
    name_a, name_b = f"{a.label} of {first.name}", f"{b.label} of {second.name}"
    demand_alike(a.conditions, b.conditions, name_a, name_b)
    try:
        estimate = estimate_ratio("p50", a, b)
    except ValueError as error:
        raise UsageError(
            f"{name_b} cannot be compared with {name_a}: {error}.",
            "Measure both in one run: 'mvdeploy compare' with the two exported files.",
        ) from error
    return ResultComparison(name_a, name_b, estimate)
