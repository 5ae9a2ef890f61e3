"""Options that several commands share."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy import formats, models, tasks
from mvdeploy.cli import completion
from mvdeploy.errors import UsageError
from mvdeploy.records import FileInputs, ModelSpec
from mvdeploy.records.spec import (
    CHANNEL_ORDERS,
    INTERPOLATIONS,
    ImageChanges,
    parse_arguments,
    parse_channels,
    parse_image_size,
    parse_patches,
)

if TYPE_CHECKING:
    from mvdeploy.pipeline.kept_exports import Shelf

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
        type=click.Choice(CHANNEL_ORDERS, case_sensitive=False),
        metavar="rgb|bgr",
        help="What the network is fed. [default: what its folder says, or is usual in the "
        "checkpoint's layout: bgr for CVNets and transformers; else rgb]",
    )(command)


def feeding(command: F) -> F:
    """Add the options that say how images are fed; see `FEEDING`."""
    for option in reversed(
        (
            click.option(
                "--mean",
                metavar="N|N,N,N",
                help="Subtracted from each channel, in their order, of values 0..1. [default for "
                "this and the next three: what the network was trained with, as far as its folder "
                "or its library says]",
            ),
            click.option("--std", metavar="N|N,N,N", help="What they are divided by then."),
            click.option(
                "--crop",
                type=float,
                metavar="SHARE",
                help="Share of the resized image that the centre crop leaves, such as 0.875.",
            ),
            click.option(
                "--interpolation",
                metavar="FILTER",
                help=f"How images are resized: {', '.join(INTERPOLATIONS)}.",
            ),
            channel_order,
        )
    ):
        command = option(command)
    return command


FEEDING = ("mean", "std", "crop", "interpolation", "channel_order")
"""Names of the values that `feeding` adds."""


def weights_key(command: F) -> F:
    """Add ``--weights-key``."""
    return click.option(
        "--weights-key",
        metavar="KEY",
        help="Which of the checkpoint's copies to take, if several fit: state_dict_ema, "
        "state_dict.model, or . for the file itself.",
    )(command)


def precisions(command: F) -> F:
    """Add ``--precision``; its values are a tuple, empty for each format's usual one."""
    by_format = {name: formats.precisions_of(name) for name in formats.names()}
    usual = ", ".join(f"{own[0]} for {name}" for name, own in by_format.items())
    listed = tuple(dict.fromkeys(name for own in by_format.values() for name in own))
    return click.option(
        "--precision",
        "precisions",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.of_names(lambda: listed),
        help=f"{', '.join(listed)}. Repeat it for several. [default: {usual}]",
    )(command)


def quantising(command: F) -> F:
    """Add what is said of whole numbers; see `QUANTISING`."""
    for option in reversed(
        (
            click.option(
                "--calibrate",
                "images",
                metavar="DIR|N",
                help="int8 and int8-fast: the images that scales are taken from, or how many "
                "variants of a shipped photograph. [default: 32 of these]",
            ),
            click.option(
                "--calibration-method",
                "method",
                metavar="NAME",
                help="How a range is taken from them: percentile, entropy or min-max. [default: "
                "percentile]",
            ),
            click.option(
                "--percentile",
                type=float,
                metavar="N",
                help="Share of the numbers that a range holds, in percent. [default: 99.99]",
            ),
            click.option(
                "--keep-float",
                multiple=True,
                metavar="MODULE",
                help="int8, int8-dynamic and int8-fast: a module that stays in float, or a pattern "
                "such as 'layer_1*'. Repeat it for several.",
            ),
        )
    ):
        command = option(command)
    return command


QUANTISING = ("images", "method", "percentile")
"""Names of the values that `quantising` adds, beside ``keep_float``."""


def keeping(command: F) -> F:
    """Add what is said of exports that are kept; see `shelf`."""
    without = click.option(
        "--no-cache", is_flag=True, help="Neither take an export that was kept, nor keep one."
    )
    size = click.option(
        "--cache-size",
        metavar="SIZE",
        help="How much 'mvdeploy cache' may keep, as in 500MB: what was not taken for longest goes "
        "first. [default: MVDEPLOY_CACHE_SIZE, or 2GB]",
    )
    return without(size(command))


def shelf(no_cache: bool, cache_size: str | None) -> Shelf | None:
    """Return where exports are kept, of what `keeping` adds; None for nowhere.

    Raises:
        UsageError: there is no such size.
    """
    from mvdeploy.pipeline import kept_exports

    size = kept_exports.read_size(cache_size) if cache_size is not None else None
    with contextlib.suppress(OSError):  # no folder is the user's own: nothing is kept
        return None if no_cache else kept_exports.Shelf(size=size)
    return None


def left_out(command: F) -> F:
    """Add ``--without-pass``; its value is a tuple of names."""
    return click.option(
        "--without-pass",
        "left_out",
        multiple=True,
        metavar="NAME",
        help="Leave a pass out, such as fold_batchnorm; inference_form keeps networks that are "
        "re-parameterised in the form in which they are trained. Repeat it for several.",
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
            click.option(
                "--attention",
                "attentions",
                multiple=True,
                metavar="NAME",
                help="How MobileViT attends: softmax, linformer or separable. Repeat it for "
                "several. [default: softmax]",
            ),
            click.option("--image-size", metavar="N|H,W", help="Input size in pixels."),
            click.option(
                "--task",
                metavar="TASK",
                shell_complete=completion.of_names(tasks.names),
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
                help="Checkpoint: .pt, .pth, .ckpt, .bin, .safetensors, or a folder; of MobileViT "
                "in the names of timm, CVNets, transformers or mvdeploy. [default: random weights]",
            ),
            weights_key,
            click.option(
                "--model-arg",
                "model_arguments",
                multiple=True,
                metavar="NAME=VALUE",
                help="Keyword for what makes a network of timm or transformers or of a FILE.py, as "
                "in embed_dim=256 or depths=2,2,6,2. Repeat it for several.",
            ),
            feeding,
            click.option(
                "--calm",
                is_flag=True,
                help="Random weights that pass noise on as trained ones do, for looking at what "
                "8 bits cost; others amplify it, which shows faults.",
            ),
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


NETWORK = (
    *(
        "patches",
        "attentions",
        "image_size",
        "task",
        "num_classes",
        "seed",
        "calm",
        "weights",
        "weights_key",
    ),
    "model_arguments",
    *FEEDING,
)
"""Names of the values that `network` adds, as `specs` takes them."""


def specs(
    names: tuple[str, ...],
    patches: tuple[str, ...],
    attentions: tuple[str, ...],
    image_size: str | None,
    task: str | None,
    num_classes: int | None,
    seed: int,
    calm: bool = False,
    weights: Path | None = None,
    weights_key: str | None = None,
    model_arguments: tuple[str, ...] = (),
    **fed: Any,
) -> tuple[ModelSpec, ...]:
    """Return a spec for every model in every configuration; `fed` are those of `FEEDING`.

    Raises:
        UsageError: one of them cannot be built, or there is a checkpoint for none.
    """
    given = {"weights": weights, "weights_key": weights_key, **fed}
    needless = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    needless += ["--model-arg"] if model_arguments else []
    needless += ["--attention"] if attentions else []
    if not names and needless:
        raise UsageError(
            f"{' and '.join(needless)} {'are' if len(needless) > 1 else 'is'} for models, but only "
            "exported files are given.",
            "Give the model's name as well, or leave them out.",
        )
    size = parse_image_size(image_size) if image_size is not None else None
    images = _changes(**fed)
    made = [parse_arguments((*model_arguments, f"attention={name}")) for name in attentions]
    made = made or [parse_arguments(model_arguments)]
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
            images=images,
            weights_key=weights_key,
            arguments=arguments,
            calm=calm,
        )
        for name in names
        for configuration in configurations
        for arguments in made
    )


def _changes(mean: str | None = None, std: str | None = None, **others: Any) -> ImageChanges:
    """Return what is changed in how images are fed."""
    return ImageChanges(
        mean=parse_channels(mean) if mean is not None else None,
        std=parse_channels(std) if std is not None else None,
        **others,
    )


def file_argument(text: str) -> Path | None:
    """Return a path when an argument names a file rather than a model.

    Raises:
        UsageError: it looks like a file, but there is none.
    """
    path = Path(text)
    if path.is_file() or formats.manifest_path(path).is_file() or _is_package(path):
        return path
    if path.suffix in formats.readers() and os.path.exists(text) and not path.is_dir():
        return path  # a pipe or a device: who reads it says so
    is_artifact = path.suffix in {formats.suffix(name) for name in formats.names()}
    if ":" in text and not is_artifact:
        return None  # timm:NAME, hf:TYPE, FILE.py:FACTORY
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"There is no file {text}.", "Check the path, or give a model's name.")
    return None


def _is_package(path: Path) -> bool:
    """Say whether a folder counts as an exported file."""
    return path.is_dir() and path.suffix in formats.readers()


def file_inputs(command: F) -> F:
    """Add the options that say what the inputs of a file are; see `read_file_inputs`."""
    shape = click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="NAME=N,N",
        help="Shape of an input of a FILE that leaves dimensions free, as in x=1,3,224,224. Repeat "
        "it for several. [default: a batch of 1]",
    )
    values = click.option(
        "--values",
        multiple=True,
        metavar="NAME=LOW,HIGH",
        help="Range of the values of an input of a FILE that is no image, as in ids=0,999. Repeat "
        "it for several. [default: 0,1]",
    )
    return shape(values(command))


def read_file_inputs(shapes: tuple[str, ...], values: tuple[str, ...], **fed: Any) -> FileInputs:
    """Read what `file_inputs` adds; `fed` are those of `FEEDING`.

    Raises:
        UsageError: one of them is not as it has to be.
    """
    shape_of, values_of = dict(map(_read_shape, shapes)), dict(map(_read_values, values))
    return FileInputs(shape_of, values_of, _changes(**fed))


def _read_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")  # names may have an equals sign in them
    parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
    if not name or not all(part.isdecimal() for part in parts):
        raise UsageError(
            f"'{text}' is no shape of an input.",
            "Give its name and its sizes, as in --shape x=1,3,224,224.",
        )
    return name, tuple(map(int, parts))


def _read_values(text: str) -> tuple[str, tuple[float, float]]:
    name, _, limits = text.rpartition("=")
    try:
        low, high = map(float, limits.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not name or not low <= high or math.inf in (high, -low):
        raise UsageError(
            f"'{text}' is no range of values of an input.",
            "Give its name, the least and the largest value, as in --values ids=0,999.",
        )
    return name, (low, high)
