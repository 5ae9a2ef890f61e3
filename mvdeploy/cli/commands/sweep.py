"""``mvdeploy sweep``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdeploy import models
from mvdeploy.cli import (
    bench_options,
    fleet_options,
    length_options,
    measuring,
    options,
    sizes,
    streams,
)
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import refusals
from mvdeploy.records import ModelSpec
from mvdeploy.records.spec import parse_image_size, parse_patches
from mvdeploy.records.sweep import Unbuilt
from mvdeploy.text_format import count

if TYPE_CHECKING:
    from mvdeploy.pipeline.accuracies import Accuracies
    from mvdeploy.pipeline.sweep import Planned

_OF_FILES: dict[str, Any] = {"shapes": (), "values": (), "model": None}
_NO_DEMANDS = {"fail_on": (), "require_reliable": False}


@click.command("sweep")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@bench_options.where
@fleet_options.of_blocks
@options.network_in_sizes
@click.option(
    "--batch",
    "batches",
    multiple=True,
    metavar="N|N,N",
    help="Images in one inference, such as 1,4. Repeat it for more. [default: 1, or as a factory's "
    "inputs are]",
)
@bench_options.conditions
@length_options.options
@click.option(
    "--max-cases",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Refuse more cases than these, before anything is measured.",
)
@click.option(
    "--accuracy",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Accuracies to hold latencies against: a table with the columns 'model', if need be "
    "'patches' and 'image_size', and the accuracy.",
)
@click.option(
    "--accuracy-column",
    "column",
    metavar="NAME",
    help="Column of the table that holds the accuracy; more is better. [default: accuracy]",
)
@click.option("--anew", is_flag=True, help="Measure everything again, in a folder of its own.")
@bench_options.output
def command(names: tuple[str, ...], anew: bool, **given: Any) -> int:
    """Measure models over sizes, patches, batches, threads, precisions and engines.

    The report says by which power latency grows with the image, and which cases no other makes
    needless. A sweep is saved in DIR/sweep-MODELS-DEVICE; one that was stopped goes on where it
    stopped when the same command is given again, and more sizes are added to it.
    """
    accuracies = _accuracies(given["table"], given["column"])
    specs, unbuilt = _networks(names or (models.DEFAULT,), given)
    elsewhere = fleet_options.elsewhere(given)
    asked = bench_options.read({**_OF_FILES, **_NO_DEMANDS, **given})
    request = elsewhere.of(
        asked.request((), length_options.plan(given, asked.common, anchor=False))
    )
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline import sweep as pipeline
    from mvdeploy.pipeline.report import sweep_view
    from mvdeploy.report import sweep as report
    from mvdeploy.report.sweep.values import json_text

    planned = pipeline.plan(
        specs,
        request,
        unbuilt,
        accuracies=accuracies,
        most=given["max_cases"],
        seed=given["seed"],
        anew=anew,
    )
    refusals.demand_used(planned.whole)
    click.echo(_announced(planned), err=True)
    with steps(pipeline.step_count(planned) + 1) as announce:
        pipeline.run(planned, announce, elsewhere.measure)
        announce("write the report")
        view = sweep_view(planned.folder)
        report.write(view, planned.folder)
    if given["as_json"]:
        click.echo(json_text(view))
    else:
        report.show(view, streams.console())
        click.echo(f"\nReport: {planned.folder / 'report.html'}")
    cases = [entry.case.case for entry in view.entries if entry.case]
    return max(measuring.failures(cases), measuring.wrong_outputs(cases))


def _accuracies(table: Path | None, column: str | None) -> Accuracies | None:
    if table is None:
        if column is not None:
            raise UsageError(
                "--accuracy-column names a column of a table, and there is none.",
                "Give the table with --accuracy as well.",
            )
        return None
    from mvdeploy.pipeline import accuracies

    return accuracies.read(table, column if column is not None else "accuracy")


def _networks(
    names: tuple[str, ...], given: dict[str, Any]
) -> tuple[tuple[ModelSpec, ...], tuple[Unbuilt, ...]]:
    """Return the networks in all sizes, and those that there cannot be.

    Raises:
        UsageError: a model, a size or a number of images that is none at all.
    """
    if file := next((name for name in names if options.file_argument(name) is not None), None):
        raise UsageError(
            f"A sweep builds networks in several sizes, and {file} has one.",
            "Give a model's name, or measure the file with 'mvdeploy bench'.",
        )
    network = {name: given[name] for name in options.NETWORK}
    wanted = sizes.listed(network["image_sizes"])
    batches = sizes.listed(given["batches"], step=1)
    for text in network["patches"]:
        parse_patches(text)
    for text in wanted:
        parse_image_size(text)
    # What is wrong whatever the size and the patches is wrong usage.
    found = options.specs(names, **{**network, "patches": (), "image_sizes": ()}, batches=batches)
    if not wanted and not network["patches"]:
        return found, ()
    # Patches are for those that have them; the others are beside them for comparison.
    patched = {spec.model for spec in found if spec.patches} or {spec.model for spec in found}
    specs: list[ModelSpec] = []
    unbuilt: list[Unbuilt] = []
    for name, own in _combinations(names, network, wanted):
        own["patches"] = own["patches"] if name in patched else ()
        try:
            specs += options.specs((name,), **{**network, **own}, batches=batches)
        except UsageError as error:
            words = (name, *own["patches"], *own["attentions"], *own["image_sizes"])
            unbuilt.append(Unbuilt(" ".join(words), error.message))
    return tuple(dict.fromkeys(specs)), tuple(dict.fromkeys(unbuilt))


def _combinations(
    names: Sequence[str], network: dict[str, Any], wanted: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each model with each of its patches, attentions and sizes."""
    several = {
        "patches": network["patches"],
        "attentions": network["attentions"],
        "image_sizes": wanted,
    }
    choices: list[list[tuple[str, ...]]] = [
        [(one,) for one in texts] or [()] for texts in several.values()
    ]
    for name, *chosen in itertools.product(names, *choices):
        yield str(name), dict(zip(several, chosen, strict=True))


def _announced(planned: Planned) -> str:
    """Say how much there is to measure, and about how long that takes."""
    from mvdeploy.pipeline import sweep as pipeline

    cases, waiting = len(planned.saved.cases), len(pipeline.remaining(planned))
    blocks = len(pipeline.blocks(planned))
    said = f"{count(cases, 'case')} of {count(len(planned.specs), 'network')}"
    if unbuilt := len(planned.saved.unbuilt):
        said += f" ({unbuilt} that cannot be built)"
    if not waiting:
        return f"{said}: all measured, in {planned.folder}."
    if waiting < len(planned.specs):
        said += f"; {count(waiting, 'network')} still to be measured"
    minutes = pipeline.seconds(planned) / 60
    about = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
    return f"{said}, in {count(blocks, 'block')}: about {about}. Results: {planned.folder}"
