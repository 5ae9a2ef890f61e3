"""``mvdeploy convert``."""

from __future__ import annotations

from pathlib import Path

import click

from mvdeploy import models
from mvdeploy.cli import completion, options
from mvdeploy.models import Converted
from mvdeploy.text_format import clean


@click.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "layout",
    required=True,
    metavar="LAYOUT",
    shell_complete=completion.of_names(models.layouts),
    help=f"{', '.join(models.layouts())}.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A .pt, .pth or .safetensors file; for transformers also the name of a new folder.",
)
@options.channel_order
@options.weights_key
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    checkpoint: Path,
    layout: str,
    output: Path,
    channel_order: str | None,
    weights_key: str | None,
    as_json: bool,
) -> None:
    """Rewrite CHECKPOINT in the layout of another library; every value stays as it is.

    What CHECKPOINT is, is told by the names of its tensors.
    """
    done = models.convert(checkpoint, layout, output, channel_order, weights_key)
    if as_json:
        import json

        click.echo(json.dumps(_facts(done), indent=1))
    else:
        _show(done)


def _facts(done: Converted) -> dict[str, object]:
    return {
        "path": str(done.path),
        "source": str(done.source),
        "entry": done.entry,
        "from": done.source_layout,
        "to": done.layout,
        "model": done.model,
        "num_classes": done.num_classes,
        "tensors": done.tensors,
        "channel_order": done.channel_order,
    }


def _show(done: Converted) -> None:
    entry = f", entry '{clean(done.entry)}'" if done.entry else ""
    click.echo(f"{done.path}")
    click.echo(
        f"  {done.source_layout}{entry} → {done.layout}: {done.tensors} tensors of {done.model}, "
        f"{done.num_classes} classes"
    )
    for note in done.notes:
        click.echo(f"  {note}")
    click.echo(f"  expects {done.channel_order} images, {done.known_from}")
    if done.channel_order != done.plain_order:
        click.echo(
            f"  which is not usual in this layout: give --channel-order "
            f"{done.channel_order.lower()} when you use it with mvdeploy"
        )
