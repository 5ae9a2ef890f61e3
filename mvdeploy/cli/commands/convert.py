"""``mvdeploy convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy import models
from mvdeploy.cli import options

if TYPE_CHECKING:
    from mvdeploy.models.families.mobilevit.checkpoints import Converted


@click.command("convert")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--to", "layout", required=True, metavar="LAYOUT", help="timm, cvnets, transformers.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A .pt, .pth or .safetensors file; for transformers also the name of a new folder.",
)
@options.channel_order
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    checkpoint: Path, layout: str, output: Path, channel_order: str | None, as_json: bool
) -> None:
    """Rewrite CHECKPOINT in the layout of another library; every value stays as it is.

    What CHECKPOINT is, is told by the names of its tensors.
    """
    done = models.convert(checkpoint, layout, output, channel_order)
    if as_json:
        import json

        click.echo(json.dumps(_facts(done), indent=1))
    else:
        _show(done, channel_order is not None)


def _facts(done: Converted) -> dict[str, object]:
    return {
        "path": str(done.path),
        "source": str(done.source.source.path),
        "entry": done.source.entry,
        "from": done.source.layout_name,
        "to": done.layout,
        "model": done.model,
        "num_classes": done.source.num_classes,
        "tensors": done.tensors,
        "channel_order": done.channel_order,
    }


def _show(done: Converted, order_given: bool) -> None:
    source = done.source
    entry = f", entry '{source.entry}'" if source.entry else ""
    click.echo(f"{done.path}")
    click.echo(
        f"  {source.layout_name}{entry} → {done.layout}: {done.tensors} tensors of {done.model}, "
        f"{source.num_classes} classes"
    )
    click.echo(f"  expects {done.channel_order} images, {_reason(done, order_given)}")
    if done.channel_order != done.plain_order:
        click.echo(
            f"  which is not usual in this layout: give --channel-order "
            f"{done.channel_order.lower()} when you use it with mvdeploy"
        )


def _reason(done: Converted, order_given: bool) -> str:
    """Say where the channel order is known from: the tensors do not tell."""
    if order_given:
        return "as --channel-order says"
    if done.source.says_its_feed:
        return "as preprocessor_config.json says"
    return f"as is usual in the layout {done.source.layout_name} (--channel-order says otherwise)"
