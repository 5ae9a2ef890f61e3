"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy import formats, models, tasks
from mvdeploy.cli import completion
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.places import file_named
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
    return None if no_cache else kept_exports.usual(size)


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
    return _network(command, "N|H,W", "Input size in pixels. Repeat it for several.")


def network_in_sizes(command: F) -> F:
    """Add the same; sizes are lists and ranges, as `mvdeploy.cli.sizes` reads them."""
    several = "Input sizes in pixels: 160:320:32 for a range with both ends and its step, 160,192"
    return _network(
        command, "N:N:N|N,N|HxW", f"{several}, or 160x192 for height and width. Repeat it for more."
    )


def _network(command: F, sizes: str, about_sizes: str) -> F:
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
            click.option(
                "--image-size",
                "image_sizes",
                multiple=True,
                metavar=sizes,
                help=f"{about_sizes} [default: the model's own]",
            ),
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
        "image_sizes",
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
    image_sizes: tuple[str, ...],
    task: str | None,
    num_classes: int | None,
    seed: int,
    calm: bool = False,
    weights: Path | None = None,
    weights_key: str | None = None,
    model_arguments: tuple[str, ...] = (),
    batches: tuple[str, ...] = (),
    **fed: Any,
) -> tuple[ModelSpec, ...]:
    """Return a spec for every model in every configuration; `fed` are those of `FEEDING`.

    The sizes and batches of one configuration stand beside each other.

    Raises:
        UsageError: one of them cannot be built, or there is a checkpoint for none.
    """
    given = {"num_classes": num_classes, "task": task, "weights": weights}
    given |= {"weights_key": weights_key, **fed}
    needless = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    needless += ["--model-arg"] if model_arguments else []
    needless += ["--patches"] if patches else []
    needless += ["--attention"] if attentions else []
    needless += ["--image-size"] if image_sizes else []
    needless += ["--batch"] if batches else []
    if not names and needless:
        raise UsageError(
            f"{' and '.join(needless)} {'are' if len(needless) > 1 else 'is'} for models, but only "
            "exported files are given.",
            "Give the model's name as well, or leave them out.",
        )
    sizes = tuple(dict.fromkeys(map(parse_image_size, image_sizes))) or (None,)
    counts = tuple(dict.fromkeys(map(images_at_once, batches)))
    images = _changes(**fed)
    made = [parse_arguments((*model_arguments, f"attention={name}")) for name in attentions]
    made = made or [parse_arguments(model_arguments)]
    configurations = tuple(parse_patches(text) for text in patches) or (None,)
    found = (
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
        for size in sizes
    )
    return tuple(spec.with_batch(n) for spec in found for n in counts or (spec.batch,))


def batches(command: F) -> F:
    """Add ``--batch``; its values are a tuple, as `specs` takes them."""
    return click.option(
        "--batch",
        "batches",
        multiple=True,
        metavar="N",
        help="Images in one inference. Repeat it for several. [default: 1, or as a factory's "
        "inputs are]",
    )(command)


def images_at_once(text: str) -> int:
    """Read a number of images.

    Raises:
        UsageError: it is none.
    """
    if text == "dynamic":
        raise UsageError(
            "A latency is that of a number of images, and 'dynamic' is none.",
            "Give --batch 1 or --batch 4. 'mvdeploy export --batch dynamic' writes a file for any "
            "number, which is measured with --shape image=4,3,256,256.",
        )
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text) <= _MOST_IMAGES:
        raise UsageError(
            f"'{text}' is no number of images.",
            f"Give one from 1 to {_MOST_IMAGES:,}, as in --batch 4.",
        )
    return int(text)


_MOST_IMAGES = 1_000_000
"""In one inference: more fit into no memory."""


def _changes(mean: str | None = None, std: str | None = None, **others: Any) -> ImageChanges:
    """Return what is changed in how images are fed."""
    return ImageChanges(
        mean=parse_channels(mean) if mean is not None else None,
        std=parse_channels(std) if std is not None else None,
        **others,
    )


file_argument = file_named
"""Return a path when an argument names a file rather than a model."""


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
