"""``mvdeploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mvdeploy.cli import bench_options, completion, energy_options, measuring, numbers, options
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import length, places, refusals
from mvdeploy.records import Plan


@click.command("compare")
@click.argument(
    "models_or_files",
    nargs=-1,
    required=True,
    metavar="MODEL|FILE|RESULT...",
    shell_complete=completion.models,
)
@bench_options.where
@options.network
@bench_options.of_files
@bench_options.conditions
@energy_options.options
@click.option(
    "--max-time",
    type=numbers.seconds(),
    default=Plan.max_time_s,
    show_default=True,
    metavar="SECONDS",
    help="Seconds of turns at most, when the interval stays wide.",
)
@click.option(
    "--target",
    type=numbers.Number(0, 100, min_open=True),
    metavar="PERCENT",
    help="Stop when the ratio is known to ± this. [default: 1 by CPU time, 3 by wall time]",
)
@click.option(
    "--groups",
    type=click.IntRange(4),
    default=Plan.groups,
    show_default=True,
    help="How often both engine sessions are made anew, at least, if there is time; an even "
    "number. Fewer make false alarms likelier.",
)
@bench_options.results
def command(
    models_or_files: tuple[str, ...],
    max_time: float,
    target: float | None,
    groups: int,
    **given: Any,
) -> int:
    """Say which of two is faster, by how much, and how sure that is.

    Two models or exported files, or one model with two --patches or two --format, take turns,
    inference by inference; the first is the reference. Give the same twice to see what the
    machine can tell.

    A RESULT is the folder of a run or a saved baseline: two of them are compared as they are.
    """
    results = [text for text in models_or_files if places.is_result(Path(text))]
    if results:
        return _compare_results(models_or_files, results, given)
    asked = bench_options.read(given, length.TURNS_WARMUP)
    subjects = bench_options.subjects(models_or_files, given)
    plan = length.turns(
        asked.common | energy_options.plan_fields(given),
        max_time_s=max_time,
        target=target / 100 if target is not None else None,
        groups=groups,
    )
    request = asked.request(subjects, plan)
    refusals.demand_two(request)
    asked.demands.check_reference(comparing=True)
    return measuring.measure(request, asked)


def _no_result(text: str, result: str) -> str:
    if Path(text).exists():
        return f"{result} is a saved result, and {text} is none."
    return f"{text} is no saved result to compare {result} with: there is no such file or folder."


def _compare_results(texts: tuple[str, ...], results: list[str], given: dict[str, Any]) -> int:
    if len(texts) != 2 or len(results) != 2:
        raise UsageError(
            f"A result is compared with one other result, not with {len(texts) - 1} other things."
            if len(texts) != 2
            else _no_result(next(text for text in texts if text not in results), results[0]),
            "Give two folders of runs or saved baselines, or two models or exported files.",
        )
    if given["fail_on"] or given["require_reliable"]:
        raise UsageError(
            "Saved results are not held against --fail-on or --require-reliable.",
            "Use 'mvdeploy bench --baseline FILE' for that, or compare the exported files.",
        )
    if given["energy"] or given["energy_time"] is not None:
        raise UsageError(
            "Of saved results no energy is measured.",
            "Leave --energy out, or compare the exported files.",
        )
    if given["junit"] or given["github_summary"]:
        raise UsageError(
            "Of saved results there are no checks for --junit or --github-summary.",
            "Leave it out, or compare the exported files.",
        )
    from mvdeploy.pipeline.compare import compare_results

    comparisons = compare_results(Path(results[0]), Path(results[1]))
    if given["as_json"]:
        import json

        click.echo(json.dumps([comparison.as_json() for comparison in comparisons], indent=1))
        return 0
    for comparison in comparisons:
        click.echo(comparison.sentence)
    click.echo(comparisons[0].warning)
    return 0
