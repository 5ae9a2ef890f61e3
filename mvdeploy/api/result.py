"""`Result`: a saved run, as programs and notebooks look at it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from mvdeploy import plugins, report
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.ratios import ComparisonView
from mvdeploy.analysis.view import View
from mvdeploy.api import _frames, _html
from mvdeploy.api._calls import keywords, public
from mvdeploy.errors import (
    CheckFailed,
    DeviceUnavailable,
    EngineError,
    MvdeployError,
    UsageError,
)
from mvdeploy.pipeline import report as saved
from mvdeploy.report import document, figures, prose
from mvdeploy.report.tables.table import tagged
from mvdeploy.report.wording import word_all
from mvdeploy.text_format import NONE, clean, count, milliseconds, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mvdeploy.records import Artifact, Parity

_SHOWN = 12
"""Cases that a notebook shows; a frame has all."""

_ERRORS: dict[int, type[MvdeployError]] = {
    kind.exit_code: kind for kind in (CheckFailed, UsageError, DeviceUnavailable, EngineError)
}


@dataclasses.dataclass(frozen=True, repr=False)
class ResultCase:
    """A network or file as it was measured: one format, precision, engine and number of threads.

    Times are milliseconds of wall time of one inference, over all measured ones; they are None
    where nothing was measured, and `problem` says why.

    Attributes:
        view: all that is derived of it; see `mvdeploy.analysis.cases.CaseView`.

    Example:
        >>> import mvdeploy
        >>> case = mvdeploy.load("run")["A"]
        >>> case.engine, case.format, case.precision
        ('onnxruntime', 'onnx', 'fp32')
        >>> case.p50_ms < case.p99_ms
        True
    """

    view: CaseView

    @property
    def key(self) -> str:
        """Its letter in reports, such as ``A``."""
        return self.view.key

    @property
    def name(self) -> str:
        """What was measured, with as much as tells it from the others."""
        return self.view.name

    @property
    def slug(self) -> str:
        """Its name in files and tables."""
        return self.view.slug

    @property
    def format(self) -> str:
        """The format of the file that was measured."""
        return self.view.format

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self.view.precision

    @property
    def engine(self) -> str:
        """What ran it."""
        return self.view.case.engine

    @property
    def p50_ms(self) -> float | None:
        """The median, milliseconds."""
        return self._percentile("p50")

    @property
    def p90_ms(self) -> float | None:
        """The 90th percentile, milliseconds."""
        return self._percentile("p90")

    @property
    def p99_ms(self) -> float | None:
        """The 99th percentile, milliseconds."""
        return self._percentile("p99")

    def _percentile(self, name: str) -> float | None:
        timing = self.view.timing
        return None if timing is None else float(getattr(timing.wall, name)) / 1e6

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """The 95 % interval of the median within this run, milliseconds; None with few samples."""
        interval = self.view.timing.interval if self.view.timing else None
        return None if interval is None else (interval.low / 1e6, interval.high / 1e6)

    @property
    def reliability(self) -> str | None:
        """``reliable``, ``doubtful`` or ``unreliable``; None where nothing can be judged."""
        return str(self.view.verdict.grade) if self.view.verdict else None

    @property
    def problem(self) -> str:
        """Why there is no latency, and what to do; empty where there is one."""
        return keywords(" ".join(filter(None, (self.view.reason, self.view.remedy))))

    @property
    def artifact(self) -> Artifact | None:
        """The manifest of the file that was measured; None where its export failed."""
        return self.view.case.artifact

    @property
    def parity(self) -> Parity | None:
        """How the export was held against PyTorch; None where it was not, as for given files."""
        return self.view.case.parity

    @property
    def device_parity(self) -> Parity | None:
        """How what the device computed was held against PyTorch; None where it was not."""
        return self.view.case.device_parity

    def __repr__(self) -> str:
        measured = "not measured" if self.p50_ms is None else f"p50 {self.p50_ms:.4g} ms"
        return f"<{self.key}: {self.name}, {measured}>"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two cases, and how much longer the one takes than the other.

    Attributes:
        a: name of the reference.
        b: name of the other.
        ratio: time of B divided by time of A: below 1 when B is faster; None where there is none.
        interval: low and high end of the ratio's interval.
        level: confidence of the interval, such as 0.95.
        verdict: of B: ``faster``, ``slower`` or ``no difference detected``.
        clock: ``cpu`` or ``wall``: which times were compared.
        paired: whether they took turns in one run. Results of two runs did not, and may differ by
            some percent though nothing else does.
        sentence: what can be said, with its numbers.

    Example:
        >>> import mvdeploy
        >>> (pair,) = mvdeploy.load("run").comparisons
        >>> pair.b, pair.verdict, round(pair.ratio, 2)
        ('mobilevit_xxs 8,4,2', 'faster', 0.89)
    """

    a: str
    b: str
    ratio: float | None
    interval: tuple[float, float] | None
    level: float | None
    verdict: str
    clock: str
    paired: bool
    sentence: str


def pair_of(view: ComparisonView) -> Pair:
    """Return two cases of a run that took turns."""
    estimate = view.estimate
    return Pair(
        a=view.a.name,
        b=view.b.name,
        ratio=estimate.ratio if estimate else None,
        interval=(estimate.low, estimate.high) if estimate else None,
        level=estimate.level if estimate else None,
        verdict=estimate.verdict if estimate else view.problem,
        clock=view.choice.clock,
        paired=True,
        sentence=prose.comparison(view),
    )


class Result:
    """A saved run: its cases, as tables, figures and sentences.

    `mvdeploy.bench` returns one and `mvdeploy.load` reads one again. It holds its cases: ``len``,
    iteration, and ``result["B"]`` by letter or name. In a notebook it shows the answer.

    Args:
        path: folder of the run.

    Raises:
        UsageError: the folder holds no run, or one that is damaged.

    Example:
        >>> import mvdeploy
        >>> result = mvdeploy.load("run")
        >>> [case.key for case in result]
        ['A', 'B']
        >>> result.frame("cases")[["case", "p50_ms"]].shape
        (2, 2)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.view = saved.view(self.path)

    @functools.cached_property
    def cases(self) -> tuple[ResultCase, ...]:
        """All cases, also those that failed."""
        return tuple(map(ResultCase, self.view.cases))

    @property
    def name(self) -> str:
        """Name of the run, which its folder has too."""
        return self.view.run.name

    @property
    def best(self) -> ResultCase | None:
        """The case with the least median; None where none was measured.

        Whether it is really faster than the next one, `comparisons` say.
        """
        measured = [case for case in self.cases if case.p50_ms is not None]
        return min(measured, key=lambda case: case.p50_ms or 0.0, default=None)

    @property
    def failed(self) -> tuple[ResultCase, ...]:
        """The cases without a latency; their `problem` says why."""
        return tuple(case for case in self.cases if case.p50_ms is None)

    @property
    def comparisons(self) -> tuple[Pair, ...]:
        """All pairs of cases that took turns."""
        return tuple(map(pair_of, self.view.comparisons))

    @property
    def summary(self) -> tuple[str, ...]:
        """What was measured and what came out, in sentences; the answer comes first."""
        setting, *answers = prose.summary(self.view)
        return (*answers, setting)

    @property
    def findings(self) -> tuple[str, ...]:
        """What to know of the result, gravest first, each with what to do about it."""
        worded = word_all(self.view.findings, self.view.cases)
        return tuple(keywords(f"{f.level}: {f.sentence} {f.remedy}".strip()) for f in worded)

    def check(self) -> None:
        """Refuse a result that is not whole, as the exit status of ``mvdeploy bench`` does.

        Raises:
            MvdeployError: a case has no latency, or the device computed something else than the
                network; of the kind that ended the first such case.

        Example:
            >>> import mvdeploy
            >>> mvdeploy.load("run").check()
        """
        for case in self.view.cases:
            if case.timing is None:
                failure = case.case.failure
                kind = _ERRORS.get(failure.exit_code if failure else 1, CheckFailed)
                raise kind(f"{case.name}: {keywords(case.reason)}", keywords(case.remedy))
        for case in self.view.cases:
            judged = case.case.device_parity
            if judged is not None and not judged.passed:
                raise CheckFailed(
                    f"{case.name}: the device computes something else than the network.",
                    "Do not use this latency; the report has the figures.",
                )

    def frame(self, name: str = "cases") -> pd.DataFrame:
        """Return a table of the run, with the numbers that its CSV files have.

        Columns say their unit: ``_ms``, ``_ns``, ``_mb`` (1e6 bytes); shares are fractions. They
        are the same for every run, also where there are no rows; what is not known is missing.

        Args:
            name: ``cases`` (a row for each, with percentiles), ``samples`` (every measured
                inference), ``comparisons`` (ratios of cases that took turns), ``categories``,
                ``kinds``, ``modules`` and ``operators`` (where the time of one inference goes).

        Raises:
            UsageError: there is no such table.

        Example:
            >>> import mvdeploy
            >>> result = mvdeploy.load("run")
            >>> samples = result.frame("samples")
            >>> medians = samples.groupby("case")["wall_ns"].median() / 1e6
            >>> bool(abs(medians["a"] - result["a"].p50_ms) < 1e-6)
            True
        """
        return _frames.frame(self.view, name)

    def plot(self, name: str = "latency") -> Figure:
        """Return a figure of the run: of matplotlib, without pyplot, to change, show or save.

        Args:
            name: ``latency`` (the distribution of each case's samples), ``categories`` (where the
                time goes), ``modules`` (those that take longest) or ``timeline`` (every sample in
                the order in which it was taken).

        Raises:
            UsageError: there is no such figure, or the run has nothing that it shows.

        Example:
            >>> import mvdeploy
            >>> figure = mvdeploy.load("run").plot("latency")
            >>> figure.savefig("latency.png")
        """
        importlib.import_module("matplotlib.figure")
        there = [picture.name for picture in document.pictures(self.view)]
        if name in plugins.names("mvdeploy.report.figures") and name not in there:
            raise UsageError(
                f"This run has nothing that the figure '{name}' would show.",
                f"Choose one of: {', '.join(there) or 'none'}.",
            )
        if name not in there:
            raise plugins.unknown("figure", name, tuple(there))
        return figures.figure(self.view, name)

    def report(
        self,
        formats: str | Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> tuple[Path, ...]:
        """Write the report of the run.

        Args:
            formats: names such as ``html``, ``markdown``, ``csv``, ``json`` or ``png``; None for
                those that ``mvdeploy bench`` writes.
            path: folder for the files; None for the run's own.

        Returns:
            The files.

        Raises:
            UsageError: there is no such format, or the folder cannot be written to.

        Example:
            >>> import mvdeploy
            >>> [path.name for path in mvdeploy.load("run").report("json", "page")]
            ['report.json']
        """
        # Or the first figure would import it without docstrings, which a notebook may want.
        importlib.import_module("matplotlib.figure")
        names = [formats] if isinstance(formats, str) else formats
        return _written(self.view, self.path if path is None else Path(path), names)

    def data(self) -> dict[str, Any]:
        """Return the run as plain values, as ``mvdeploy report --format json`` writes them.

        Example:
            >>> import mvdeploy
            >>> mvdeploy.load("run").data()["cases"][0]["slug"]
            'a'
        """
        written: dict[str, Any] = report.renderer("json").as_json(self.view)
        return written

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[ResultCase]:
        return iter(self.cases)

    @overload
    def __getitem__(self, key: int | str) -> ResultCase: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[ResultCase, ...]: ...
    def __getitem__(self, key: int | str | slice) -> ResultCase | tuple[ResultCase, ...]:
        if not isinstance(key, str):
            return self.cases[key]
        for case in self.cases:
            if key in (case.key, case.slug, case.name):
                return case
        known = ", ".join(f"{case.key} ({case.slug})" for case in self.cases)
        raise KeyError(f"There is no case '{key}'. There are: {known or 'none'}.")

    def __repr__(self) -> str:
        said = [count(len(self), "case")]
        best = self.best
        if best is not None:
            what = "" if len(self) == 1 else f"fastest {best.key}, "
            said.append(f"{what}p50 {best.p50_ms:.4g} ms")
        if self.failed:
            said.append(f"{len(self.failed)} not measured")
        return f"<Result {clean(self.name)}: {', '.join(said)}>"

    def _repr_html_(self) -> str:
        rows = [_row(self.view, case) for case in self.view.cases[:_SHOWN]]
        more = len(self) - len(rows)
        note = [f"And {count(more, 'further case')}: frame() has all."] if more else []
        columns = ("case", "engine", "p50, ms", "interval, ms", "p99, ms", "verdict")
        return (
            _html.paragraphs(self.summary)
            + _html.table(columns, rows)
            + _html.paragraphs((*note, f"Saved in {self.path}"))
        )


def _row(view: View, case: CaseView) -> tuple[str, ...]:
    head = (tagged(view, case), case.case.engine or NONE)
    if case.timing is None:
        return (*head, NONE, NONE, NONE, case.reason)
    wall, interval = case.timing.wall, case.timing.interval
    width = f" (± {percent(interval.half_width_relative, 2)})" if interval else ""
    between = f"{milliseconds(interval.low)}–{milliseconds(interval.high)}" if interval else NONE
    verdict = str(case.verdict.grade) if case.verdict else "in turns only"
    return (*head, milliseconds(wall.p50), f"{between}{width}", milliseconds(wall.p99), verdict)


@public
def _written(view: View, place: Path, names: Sequence[str] | None) -> tuple[Path, ...]:
    return report.write(view, place, names)


@public
def load(path: str | os.PathLike[str]) -> Result:
    """Read a saved run again. It takes neither the device nor the network, and no torch.

    Args:
        path: folder that ``mvdeploy bench`` or `mvdeploy.bench` wrote.

    Raises:
        UsageError: the folder holds no run, or one that is damaged.

    Example:
        >>> import mvdeploy
        >>> mvdeploy.load("run")
        <Result 2026-03-04-100000-host: 2 cases, fastest B, p50 4.604 ms>
    """
    return Result(path)
