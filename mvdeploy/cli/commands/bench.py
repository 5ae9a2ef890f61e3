"""``mvdeploy bench``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from mvdeploy.cli import (
    bench_options,
    completion,
    energy_options,
    history_options,
    length_options,
    measuring,
    options,
    stage_options,
    sustained_options,
)


@click.command("bench")
@click.argument(
    "models_or_files", nargs=-1, metavar="[MODEL|FILE]...", shell_complete=completion.models
)
@bench_options.where
@options.network
@options.batches
@bench_options.of_files
@bench_options.conditions
@length_options.options
@stage_options.options
@sustained_options.options
@energy_options.options
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
@history_options.recording
@bench_options.results
def command(
    models_or_files: tuple[str, ...],
    anchor: bool,
    save_manifest: bool,
    **given: Any,
) -> int:
    """Measure models, or exported files, and write a report.

    A FILE is one that 'mvdeploy export' wrote, or anyone else: .onnx, .ort, .pte, .pt2, .tflite,
    .mlpackage.

    Cases of one run take turns, so that two patch configurations, sizes or batches are compared
    under the same conditions. Results are saved after every session in DIR/<run>.
    """
    asked = bench_options.read(given)
    subjects = bench_options.subjects(models_or_files, given)
    common = asked.common | energy_options.plan_fields(given) | stage_options.plan_fields(given)
    plan = length_options.plan(given, common, anchor=anchor)
    request = asked.request(subjects, plan)
    if sustained := sustained_options.plan(given, asked.common, len(request.cases)):
        request = dataclasses.replace(request, plan=sustained)
    engines = [case.engine for case in request.cases]
    asked.demands.check_reference(
        comparing=len(set(engines)) < len(engines), pipeline=plan.pipeline
    )
    if save_manifest:
        from mvdeploy.pipeline.files import save_manifests

        for path in save_manifests(request.files):
            click.echo(f"Manifest: {path}", err=True)
    return measuring.measure(request, asked)
