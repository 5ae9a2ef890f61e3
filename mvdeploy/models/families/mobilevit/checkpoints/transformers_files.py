"""What a folder as transformers saves it says beside the weights: config, preprocessor_config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit.checkpoints.files import CONFIG, PREPROCESSOR, Shape
from mvdeploy.records.spec import ImageRule

_FIXED: dict[str, object] = {
    "num_channels": 3,
    "num_attention_heads": 4,
    "mlp_ratio": 2.0,
    "hidden_act": "silu",
    "conv_kernel_size": 3,
    "output_stride": 32,
    "layer_norm_eps": 1e-5,
}
"""What the weights' shapes do not tell, and mvdeploy's network has."""

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's numbers of resampling filters, by which ``resample`` counts."""


@dataclasses.dataclass(frozen=True)
class Feed:
    """What a checkpoint is fed.

    Attributes:
        channel_order: ``RGB`` or ``BGR``.
        images: the rest of the preprocessing.
        image_size: height and width of the network's input, pixels; None if not said.
    """

    channel_order: str
    images: ImageRule
    image_size: tuple[int, int] | None = None


def check_config(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a network that mvdeploy's is not.

    Raises:
        UsageError: another model, or one whose settings differ where weights do not show it.
    """
    kind = config.get("model_type", "mobilevit")
    if kind != "mobilevit":
        raise UsageError(f"{folder} holds a model of type '{kind}'.", "Give a MobileViT.")
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise UsageError(
                f"{folder / CONFIG} has {key} {config[key]!r}, but mvdeploy's MobileViT has "
                f"{value!r}.",
                "Give a checkpoint of the published architecture.",
            )


def patch_size(config: Mapping[str, Any], folder: Path) -> int:
    """Return the side of the patches that the network was made with, the same in all stages.

    Raises:
        UsageError: it is no positive whole number.
    """
    return _side(config.get("patch_size", 2), "patch_size", folder / CONFIG)


def read_feed(settings: Mapping[str, Any], plain: Feed, folder: Path) -> Feed:
    """Return what images are fed by a preprocessor_config.json.

    Args:
        settings: its content; older releases wrote plain numbers for sizes.
        plain: what holds where it says nothing.
        folder: where it is.

    Raises:
        UsageError: images are prepared in a way that mvdeploy does not know.
    """
    file = folder / PREPROCESSOR
    if settings.get("do_resize", True) is not True:
        raise _unknown(file, "'do_resize' is off")
    crop = _crop(settings, file)
    margin = plain.images.margin
    if "size" in settings:
        # Without a crop the network sees the resized image; a square of it is as near as can be.
        shortest = _shortest(settings["size"], file)
        margin = shortest - min(crop) if crop else 0
        crop = crop or (shortest, shortest)
    rule = ImageRule(
        margin=margin,
        interpolation=_filter(settings.get("resample", 2), file),
        scale=_scale(settings, file),
    )
    flips = settings.get("do_flip_channel_order", plain.channel_order == "BGR")
    return Feed("BGR" if flips else "RGB", rule, crop)


def write_config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the config.json of a network, from the shapes of its tensors under our names."""
    widths = [shapes["conv_1.conv.weight"][0]]
    widths += [shapes[f"layer_{stage}.0.project.conv.weight"][0] for stage in range(1, 6)]
    widths += [shapes["conv_1x1_exp.conv.weight"][0]]
    hidden, cin = shapes["layer_1.0.expand.conv.weight"][:2]
    labels = [f"LABEL_{index}" for index in range(shapes["classifier.fc.weight"][0])]
    return {
        "architectures": ["MobileViTForImageClassification"],
        "model_type": "mobilevit",
        **_FIXED,
        "expand_ratio": hidden / cin,
        "hidden_sizes": [shapes[f"layer_{stage}.1.norm.weight"][0] for stage in (3, 4, 5)],
        "neck_hidden_sizes": widths,
        "patch_size": 2,
        "image_size": 256,
        "qkv_bias": True,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def write_feed(feed: Feed) -> dict[str, Any]:
    """Return the preprocessor_config.json that says the same."""
    height, width = feed.image_size or (256, 256)
    return {
        "image_processor_type": "MobileViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": feed.images.resized(min(height, width))},
        "resample": _FILTERS.index(feed.images.interpolation),
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": feed.images.scale,
        "do_flip_channel_order": feed.channel_order == "BGR",
    }


def _crop(settings: Mapping[str, Any], file: Path) -> tuple[int, int] | None:
    crop = settings.get("crop_size")
    if crop is None or settings.get("do_center_crop", True) is not True:
        return None
    if not isinstance(crop, Mapping):
        return (_side(crop, "crop_size", file),) * 2
    return (
        _side(crop.get("height"), "crop_size", file),
        _side(crop.get("width"), "crop_size", file),
    )


def _shortest(size: object, file: Path) -> int:
    if not isinstance(size, Mapping):
        return _side(size, "size", file)
    if "shortest_edge" not in size:
        raise _unknown(file, "'size' changes the proportions of images")
    return _side(size["shortest_edge"], "size", file)


def _filter(resample: object, file: Path) -> str:
    if type(resample) is not int or not 0 <= resample < len(_FILTERS):
        raise _unknown(file, f"'resample' is {resample!r}")
    return _FILTERS[resample]


def _scale(settings: Mapping[str, Any], file: Path) -> float:
    if settings.get("do_rescale", True) is not True:
        return 1.0
    factor = settings.get("rescale_factor", 1 / 255)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 2:
        raise _unknown(file, f"'rescale_factor' is {factor!r}")
    return float(factor)


def _side(value: object, key: str, file: Path) -> int:
    if type(value) is not int or not 0 < value < 10**6:
        raise _unknown(file, f"'{key}' is {value!r}")
    return value


def _unknown(file: Path, what: str) -> UsageError:
    return UsageError(
        f"{file} cannot be followed: {what}.",
        "Take the file out of the folder to have images fed as published checkpoints expect them.",
    )
