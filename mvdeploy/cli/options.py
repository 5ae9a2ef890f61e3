"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mvdeploy import export, models, tasks
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec
from mvdeploy.records.spec import parse_image_size, parse_patches

F = TypeVar("F", bound=Callable[..., Any])


def debug(command: F) -> F:
    """Add ``--debug``; `mvdeploy.cli.main` looks for it."""
    return click.option(
        "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
    )(command)


def channel_order(command: F) -> F:
    """Add ``--channel-order``; its value is the word in capitals, or None."""
    return click.option(
        "--channel-order",
        type=click.Choice(models.CHANNEL_ORDERS, case_sensitive=False),
        metavar="rgb|bgr",
        help="What the checkpoint is fed. [default: rgb for timm's, bgr for the others, or what "
        "its preprocessor_config.json says]",
    )(command)


def precisions(command: F) -> F:
    """Add ``--precision``; its values are a tuple, empty for each format's usual one."""
    by_format = {name: export.precisions_of(name) for name in export.names()}
    usual = ", ".join(f"{own[0]} for {name}" for name, own in by_format.items())
    listed = ", ".join(dict.fromkeys(name for own in by_format.values() for name in own))
    return click.option(
        "--precision",
        "precisions",
        multiple=True,
        metavar="NAME",
        help=f"{listed}. Repeat it for several. [default: {usual}]",
    )(command)


def network(command: F) -> F:
    """Add the options that say which network is built."""
    for option in reversed(
        (
            click.option(
                "--patches",
                multiple=True,
                metavar="P3,P4,P5",
                help="Patch sizes at output strides 8, 16, 32: 2,2,2 or 8,4,2 or 4x2,2,2 "
                "(height x width). Repeat it for several configurations.",
            ),
            click.option("--image-size", metavar="N|H,W", help="Input size in pixels."),
            click.option(
                "--task",
                metavar="TASK",
                help=f"{', '.join(tasks.names())}. [default: the model's own]",
            ),
            click.option(
                "--num-classes",
                type=int,
                help="Outputs of the classifier. [default: 1000, or the checkpoint's]",
            ),
            click.option(
                "--weights",
                type=click.Path(path_type=Path),
                metavar="FILE|DIR",
                help="Checkpoint of timm, CVNets or transformers: .pt, .pth, .bin, .safetensors, "
                "or a folder. [default: random weights]",
            ),
            channel_order,
            click.option(
                "--seed",
                type=int,
                default=0,
                show_default=True,
                help="Seed of the weights and of the measuring order.",
            ),
        )
    ):
        command = option(command)
    return command


NETWORK = ("patches", "image_size", "task", "num_classes", "seed", "weights", "channel_order")
"""Names of the values that `network` adds, as `specs` takes them."""


def specs(
    names: tuple[str, ...],
    patches: tuple[str, ...],
    image_size: str | None,
    task: str | None,
    num_classes: int | None,
    seed: int,
    weights: Path | None = None,
    channel_order: str | None = None,
) -> tuple[ModelSpec, ...]:
    """Return a spec for every model in every patch configuration.

    Raises:
        UsageError: one of them cannot be built, or there is a checkpoint for none.
    """
    if not names and (weights is not None or channel_order is not None):
        raise UsageError(
            "--weights and --channel-order are for models, but only exported files are given.",
            "Give the model's name as well, or leave them out.",
        )
    size = parse_image_size(image_size) if image_size is not None else None
    configurations = tuple(parse_patches(text) for text in patches) or (None,)
    return tuple(
        models.make_spec(
            name,
            patches=configuration,
            image_size=size,
            num_classes=num_classes,
            task=task,
            seed=seed,
            weights=weights,
            channel_order=channel_order,
        )
        for name in names
        for configuration in configurations
    )


def file_argument(text: str) -> Path | None:
    """Return a path when an argument names a file rather than a model.

    Raises:
        UsageError: it looks like a file, but there is none.
    """
    path = Path(text)
    if path.is_file() or export.manifest_path(path).is_file():
        return path
    is_artifact = path.suffix in {export.suffix(name) for name in export.names()}
    if ":" in text and not is_artifact:
        return None  # timm:NAME, hf:TYPE, FILE.py:FACTORY
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"There is no file {text}.", "Check the path, or give a model's name.")
    return None
