"""What the commands that measure have in common: how they end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy.cli import history_options, streams
from mvdeploy.errors import CheckFailed, reason
from mvdeploy.files.writing import NotWritten
from mvdeploy.pipeline import refusals

if TYPE_CHECKING:
    from mvdeploy.cli.bench_options import Options
    from mvdeploy.pipeline.bench import Request
    from mvdeploy.records import Case


def measure(request: Request, asked: Options) -> int:
    """Measure, report, and hold the result against the demands; return the exit status.

    Raises:
        UsageError: an option is of no engine that is used.
    """
    refusals.demand_used(request)
    from mvdeploy import report
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline import bench
    from mvdeploy.pipeline.report import view as view_of
    from mvdeploy.report.renderers.terminal import show

    with steps(bench.step_count(request) + 1) as announce:
        store = bench.run(request, announce)
        announce("write the report")
        view = view_of(store.folder)
        refused: list[Exception] = []
        paths: tuple[Path, ...] = ()
        with _only_shows(store.folder, refused):
            paths = report.write(view, store.folder)
    with _only_shows(store.folder, refused):
        if asked.as_json:
            click.echo(report.renderer("json").text(view))
        else:
            show(view, streams.console())
            for path in paths:
                if path.name == "report.html":
                    click.echo(f"\nReport: {path}")
    failed, wrong = failures(store.cases), wrong_outputs(store.cases)
    wrong = max(wrong, wrong_answers(store.cases))
    recorded = history_options.record(view, store.folder, asked.history) if asked.history else 0
    status = max(failed, wrong, recorded, asked.demands.settle(view))
    if refused and (not status or isinstance(refused[0], NotWritten)):
        raise refused[0]
    return status


@contextlib.contextmanager
def _only_shows(folder: Path, refused: list[Exception]) -> Iterator[None]:
    """Keep what fails while a result is shown from taking its gates and its status away.

    Args:
        folder: where the result is saved.
        refused: gets what a disk or a pipe refused, to be told of when all is settled.
    """
    try:
        yield
    except OSError as error:
        refused.append(error)
    except NotWritten as error:
        elsewhere = f"'mvdeploy report {folder} -o DIR' writes the report elsewhere."
        refused.append(NotWritten(error.message, f"The result is saved; {elsewhere}"))
    except Exception as error:
        click.echo(
            f"Warning: the result could not be shown ({reason(error, named=True)}).\n"
            f"It is saved in {folder}, and stands; please report this with the output of "
            f"'mvdeploy report {folder} --debug'.",
            err=True,
        )


def wrong_outputs(cases: Sequence[Case]) -> int:
    """Print which cases compute something else on the device; return the exit status."""
    wrong = [c for c in cases if c.device_parity is not None and not c.device_parity.passed]
    for case in wrong:
        click.echo(
            f"Error: {case.sized}: the device computes something else than the network.\n"
            "Do not use this latency; the report has the figures.",
            err=True,
        )
    return CheckFailed.exit_code if wrong else 0


def wrong_answers(cases: Sequence[Case]) -> int:
    """Print whose pipeline answers something else than its file; return the exit status."""
    wrong = [c for c in cases if c.stages is not None and c.stages.sessions and not c.stages.agrees]
    for case in wrong:
        click.echo(
            f"Error: {case.label}: its pipeline answers something else than the file does.\n"
            "Do not use its times; the report has the figures.",
            err=True,
        )
    return CheckFailed.exit_code if wrong else 0


def failures(cases: Sequence[Case]) -> int:
    """Print why cases have no result; return the exit status they ask for."""
    failed = [(case.sized, case.failure) for case in cases if case.failure is not None]
    for label, failure in failed:
        click.echo(f"Error: {label}: {failure.message}\n{failure.remedy}", err=True)
    return max((failure.exit_code for _, failure in failed), default=0)
