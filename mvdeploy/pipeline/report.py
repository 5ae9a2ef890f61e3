"""Saved run → pages, tables and pictures. Needs no device and no torch."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvdeploy import attribute, engines, report
from mvdeploy.analysis.several import SeveralView, several_view_of
from mvdeploy.analysis.study import StudyView, study_view_of
from mvdeploy.analysis.sweep import SweepView, sweep_view_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import Breakdown, Case, Samples, SavedRun, codec
from mvdeploy.records.run import load_run
from mvdeploy.records.study import StudyRun
from mvdeploy.records.sweep import SweepRun

STUDY, SWEEP, RUNS = "study.json", "sweep.json", "runs"
"""In the folder of a study or a sweep: what it is, and the folder of its runs."""


@contextlib.contextmanager
def part_of_many() -> Iterator[None]:
    """Say of a file of a study or a sweep that cannot be read what can be done about that.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(
            error.message,
            "Put back what was there, or measure all of it again: --anew takes a folder of its own "
            "and leaves this one as it is.",
        ) from error


def view(folder: Path) -> View:
    """Read a run and work out everything that reports show of it.

    Raises:
        UsageError: the folder holds no run.
    """
    saved = load_run(folder)
    titles = {name: engines.title(name) for name in engines.names()}
    return view_of(saved, breakdowns(saved), titles)


def render(
    folder: Path,
    formats: Sequence[str] | None = None,
    place: Path | None = None,
    cases: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write the reports of a saved run.

    Args:
        folder: of the run.
        formats: names of renderers; None for those that are written without being asked for.
        place: where to; None for the run's own folder.
        cases: letters or slugs of those that are written; empty for all.

    Raises:
        UsageError: the folder holds no run, a format or a case does not exist, or the place cannot
            be written to.

    Example:
        >>> import mvdeploy
        >>> from pathlib import Path
        >>> [path.name for path in mvdeploy.render(Path("run"), ["json"])]
        ['report.json']
    """
    return report.write(view(folder), place or folder, formats, cases)


def several_view(folders: Sequence[Path]) -> SeveralView:
    """Read several runs and put them side by side.

    Raises:
        UsageError: a folder holds no run, or two of them hold the same one.
    """
    return several_view_of([view(folder) for folder in folders])


def render_several(
    folders: Sequence[Path], place: Path, formats: Sequence[str] | None = None
) -> tuple[Path, ...]:
    """Write one page of several saved runs.

    Args:
        folders: of the runs; the first one is what the others are held against.
        place: where to.
        formats: names of renderers; None for those that are written without being asked for.

    Raises:
        UsageError: a folder holds no run, two hold the same one, a format does not exist or shows
            one run only, or the place cannot be written to.
    """
    return report.write_several(several_view(folders), place, formats)


def study_view(folder: Path) -> StudyView:
    """Read a study and work out everything that is shown of it.

    Raises:
        UsageError: the folder holds no study, or one of its runs cannot be read.
    """
    saved = load_study(folder)
    with part_of_many():
        return study_view_of(saved, [view(folder / RUNS / name) for name in saved.runs])


def load_study(folder: Path) -> StudyRun:
    """Read what a study's folder says of it.

    Raises:
        UsageError: it cannot be read.
    """
    with part_of_many():
        return codec.load(StudyRun, folder / STUDY)


def sweep_view(folder: Path) -> SweepView:
    """Read a sweep and work out everything that is shown of it.

    Raises:
        UsageError: the folder holds no sweep, or one of its runs cannot be read.
    """
    saved = load_sweep(folder)
    with part_of_many():
        return sweep_view_of(saved, [view(folder / RUNS / name) for name in saved.runs])


def load_sweep(folder: Path) -> SweepRun:
    """Read what a sweep's folder says of it.

    Raises:
        UsageError: it cannot be read.
    """
    with part_of_many():
        return codec.load(SweepRun, folder / SWEEP)


def breakdowns(saved: SavedRun) -> dict[str, Breakdown]:
    """Return the breakdown of every case that was measured and profiled."""
    derived = {case.slug: _breakdown(case, saved) for case in saved.cases}
    return {slug: breakdown for slug, breakdown in derived.items() if breakdown is not None}


def _breakdown(case: Case, saved: SavedRun) -> Breakdown | None:
    if case.trace is None or case.artifact is None or case.measurement is None:
        return None
    samples = case.measurement.steady.wall_ns
    if not samples:  # it only took turns
        samples = sum(saved.turns_of(case.slug), Samples()).wall_ns
    if not samples:
        return None
    return attribute.break_down(case.trace, case.artifact, statistics.median(samples))
