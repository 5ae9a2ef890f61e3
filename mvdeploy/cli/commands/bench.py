"""``mvdeploy bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mvdeploy.cli import bench_options, options
from mvdeploy.errors import UsageError
from mvdeploy.records import Plan

_FEW = 5
"""Profiled inferences of a case at least."""


@click.command("bench")
@click.argument("models_or_files", nargs=-1, metavar="[MODEL|FILE]...")
@bench_options.where
@options.network
@bench_options.of_files
@bench_options.conditions
@click.option(
    "--iterations",
    # Every sample is kept: more would not fit into memory.
    type=click.IntRange(1, 10_000_000),
    help="Measured inferences of each case.",
)
@click.option(
    "--min-time",
    type=click.FloatRange(0, min_open=True),
    default=Plan.session_time_s * Plan.sessions,
    show_default=True,
    metavar="SECONDS",
    help="Measured seconds of each case at least, unless --iterations is given.",
)
@click.option(
    "--max-time",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Measured seconds of each case at most, when its interval stays wide. [default: 60]",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 100, min_open=True),
    default=100 * Plan.target,
    show_default=True,
    metavar="PERCENT",
    help="Stop when the median is known to ± this.",
)
@click.option(
    "--sessions",
    type=click.IntRange(1),
    help="How often the engine sessions are made anew, at least. [default: "
    f"{Plan.sessions}, or {Plan.groups} when cases are compared]",
)
@click.option("--anchor", is_flag=True, help="Run a fixed small network between, as a yardstick.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The reference of --fail-on: a result that --save-baseline kept.",
)
@click.option(
    "--save-baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the result as a baseline, if it passes.",
)
@click.option(
    "--save-manifest",
    is_flag=True,
    help="Keep what was read of each FILE without a manifest beside it, as its manifest.",
)
@bench_options.results
def command(
    models_or_files: tuple[str, ...],
    iterations: int | None,
    min_time: float,
    max_time: float | None,
    target: float,
    sessions: int | None,
    anchor: bool,
    save_manifest: bool,
    **given: Any,
) -> int:
    """Measure models, or exported files, and write a report.

    A FILE is one that 'mvdeploy export' wrote, or anyone else: .onnx, .ort, .pte, .pt2, .mlpackage.

    Cases of one run take turns, so that two patch configurations are compared under the same
    conditions. Results are saved after every session in DIR/<run>.
    """
    asked = bench_options.read(given)
    subjects = bench_options.subjects(models_or_files, given)
    times = _times(iterations, min_time, max_time, sessions)
    if iterations is not None and "profile_iterations" not in asked.common:
        # Who asks for few inferences has slow ones.
        asked.common["profile_iterations"] = min(Plan.profile_iterations, max(iterations, _FEW))
    plan = Plan(iterations=iterations, target=target / 100, anchor=anchor, **times, **asked.common)
    request = asked.request(subjects, plan)
    engines = [case.engine for case in request.cases]
    asked.demands.check_reference(comparing=len(set(engines)) < len(engines))
    if save_manifest:
        from mvdeploy.pipeline.files import save_manifests

        for path in save_manifests(request.files):
            click.echo(f"Manifest: {path}", err=True)
    return bench_options.measure(request, asked)


def _times(
    iterations: int | None, min_time: float, max_time: float | None, sessions: int | None
) -> dict[str, Any]:
    """Return the fields of the plan that say how long to measure."""
    if max_time is not None and max_time < min_time:
        raise UsageError(
            f"--max-time {max_time:g} is less than --min-time {min_time:g}.",
            "Give a longer --max-time, or a shorter --min-time.",
        )
    count = min(sessions or Plan.sessions, iterations or sessions or Plan.sessions)
    return {
        "sessions": count,
        "groups": sessions or Plan.groups,
        "session_time_s": min_time / count,
        "max_time_s": max_time or max(Plan.max_time_s, min_time),
    }
