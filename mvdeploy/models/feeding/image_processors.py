"""Image processors of transformers: what their settings files say.

A file says what differs from the defaults of its class, so these are known here. Only classes that
resize, crop, rescale and normalise in this order are followed, as their torchvision backends do it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.models.feeding import LEAST, Feed
from mvdeploy.records.spec import INTERPOLATIONS, Channels, ImageRule
from mvdeploy.text_format import clean, elide

FILE, COMBINED_FILE = "preprocessor_config.json", "processor_config.json"
"""What a folder keeps its image processor in; the second, among other processors, goes first."""

_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_GENERAL: dict[str, Any] = {
    **_HALF,
    "do_resize": True,
    "do_center_crop": False,
    "do_rescale": True,
    "do_normalize": True,
    "do_pad": False,
    "rescale_factor": 1 / 255,
    "resample": 3,
}


def _square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


def _cropped(shortest: int, crop: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": shortest}, "crop_size": crop, "do_center_crop": True}


_CLASSES: dict[str, dict[str, Any]] = {
    "Beit": {**_square(224), "crop_size": 224},
    "Bit": {**_cropped(224, 224), **_CLIP},
    "Blip": {**_square(384), **_CLIP},
    "CLIP": {**_cropped(224, 224), **_CLIP},
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256},
    "DeiT": {**_square(256), "crop_size": 224, "do_center_crop": True},
    "EfficientNet": {**_square(346), "rescale_offset": False, "include_top": True},
    "Levit": {**_cropped(224, 224), **_IMAGENET},
    "MobileNetV1": {**_cropped(256, 224), "resample": 2},
    "MobileNetV2": {**_cropped(256, 224), "resample": 2},
    # As in the published checkpoints; the class itself has 224, which pads.
    "MobileViT": {**_cropped(288, 256), "resample": 2, "do_flip_channel_order": True},
    "PoolFormer": {**_cropped(224, 224), **_IMAGENET, "crop_pct": 0.9},
    "Pvt": {**_square(224), **_IMAGENET},
    "Segformer": {**_square(512), **_IMAGENET, "resample": 2},
    "Siglip": _square(224),
    "ViT": {**_square(224), "resample": 2},
}
"""Defaults of the classes that are followed, where they differ from the general ones."""

_OF_MODELS = {
    "ConvNext": ("convnext", "convnextv2", "cvt", "regnet", "resnet"),
    "ViT": ("dinat", "ijepa", "swiftformer", "swin", "swinv2", "vit", "vit_msn"),
    "Bit": ("bit", "dinov2", "dinov2_with_registers", "focalnet", "hiera"),
    "MobileViT": ("mobilevit", "mobilevitv2"),
    "Beit": ("beit", "data2vec-vision"),
    "Pvt": ("pvt", "pvt_v2"),
    "MobileNetV1": ("mobilenet_v1",),
    "MobileNetV2": ("mobilenet_v2",),
}
_ALONE = ("CLIP", "DeiT", "EfficientNet", "Levit", "PoolFormer", "Segformer", "Siglip")
_KIND = {
    **{kind.lower(): kind for kind in _ALONE},
    **{model: kind for kind, models in _OF_MODELS.items() for model in models},
}
"""Class of the image processor by type of model."""

_LONGEST = 300  # of what is quoted from a file
_FLAGS = {
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_pad"),
    *("do_flip_channel_order", "rescale_offset", "include_top"),
}
_UNPROPORTIONED = 384
"""From this side on, ConvNext's processor stretches images instead of cropping them."""


def usual(model_type: str, image_size: tuple[int, int]) -> Feed | None:
    """Return what networks of a type are fed where nothing is said; None for an unknown type."""
    if model_type not in _KIND:
        return None
    kind = _KIND[model_type]
    own, side = _CLASSES[kind], min(image_size)
    cropped = own.get("do_center_crop", False)
    margin = next(iter(own["size"].values())) - own["crop_size"] if cropped else 0
    size = dict.fromkeys(own["size"], side + margin)
    return read({"size": size, "crop_size": side}, Path(f"the class {kind}"), kind)


def read(settings: Mapping[str, Any], file: Path, kind: str = "") -> Feed:
    """Return what images are fed by the settings of an image processor.

    Args:
        settings: its content; older releases wrote plain numbers for sizes.
        file: where it is.
        kind: its class, or a type of model, where it does not say so itself.

    Raises:
        UsageError: images are prepared in a way that mvdeploy does not know.
    """
    return _Reader(settings, file, kind).feed()


def flips(settings: Mapping[str, Any]) -> bool:
    """Say whether an image processor is of a class that can turn the channels around."""
    return _kind(settings) == "MobileViT"


def write(feed: Feed) -> dict[str, Any]:
    """Return the settings that say the same, for an image processor of transformers.

    Raises:
        UsageError: there is no class that does it.
    """
    height, width = feed.image_size or (256, 256)
    rule = feed.images
    normalises = any(rule.mean) or set(rule.std) != {1.0}
    if normalises and feed.channel_order == "BGR":
        raise UsageError(
            "No image processor of transformers feeds BGR with mean and std.",
            "Write another layout with --to, or leave out --channel-order.",
        )
    size = (rule.resized(height), rule.resized(width))
    stretched = {"height": size[0], "width": size[1]}
    return {
        "image_processor_type": f"{'ViT' if normalises else 'MobileViT'}ImageProcessor",
        "do_resize": True,
        "size": stretched if rule.fit == "stretch" else {"shortest_edge": min(size)},
        "resample": INTERPOLATIONS.index(rule.interpolation),
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": rule.scale,
        "do_normalize": normalises,
        **({"image_mean": list(rule.mean), "image_std": list(rule.std)} if normalises else {}),
        "do_flip_channel_order": feed.channel_order == "BGR",
    }


def _kind(settings: Mapping[str, Any], usual: str = "") -> str:
    """Return the class of an image processor without what its name ends in."""
    said = settings.get("image_processor_type") or settings.get("feature_extractor_type") or usual
    known = _KIND.get(str(said), str(said))
    return re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", known)


@dataclasses.dataclass(frozen=True)
class _Reader:
    settings: Mapping[str, Any]
    file: Path
    usual: str

    def feed(self) -> Feed:
        kind = _kind(self.settings, self.usual)
        if kind not in _CLASSES:
            said = f"'image_processor_type' is '{kind}'" if kind else "it has no type"
            raise self._unknown(f"{said}, not one of {', '.join(_CLASSES)}")
        # Like transformers, which takes null for nothing said.
        given = {key: value for key, value in self.settings.items() if value is not None}
        own = {**_GENERAL, **_CLASSES[kind], **given}
        for key in _FLAGS & own.keys():
            if not isinstance(own[key], bool):  # "false" would be true
                raise self._unknown(f"'{key}' is {own[key]!r}, neither true nor false")
        if not own["do_resize"]:
            raise self._unknown("'do_resize' is off")
        if own["do_pad"]:
            raise self._unknown("'do_pad' is on")
        rule, size = self._geometry(kind, own)
        mean, std = self._values(kind, own)
        rule = dataclasses.replace(
            rule,
            interpolation=self._filter(own["resample"]),
            scale=self._scale(own),
            mean=mean,
            std=std,
            rounding="transformers",
        )
        turned = kind == "MobileViT" and own["do_flip_channel_order"]
        return Feed("BGR" if turned else "RGB", rule, size)

    def _geometry(self, kind: str, own: Mapping[str, Any]) -> tuple[ImageRule, tuple[int, int]]:
        """Return resizing and cropping, and the size of the input."""
        size = self._size(own["size"], square="height" in _CLASSES[kind]["size"])
        crop = self._crop(own)
        if kind == "ConvNext":
            return self._convnext(own, size, crop)
        if kind == "Levit" and isinstance(size, int):
            size = int(256 / 224 * size)
        if kind == "PoolFormer":
            share = self._share(own)
            size = int((size if isinstance(size, int) else min(size)) / share)
        if isinstance(size, int):
            # Without a crop the network sees all of a resized image, whose longer side varies;
            # the square in its middle is as near as a fixed input comes.
            crop = crop or (size, size)
            # Of a square crop, both sides are covered at other sizes too.
            fit = "cover" if crop[0] == crop[1] else "shortest"
            return ImageRule(margin=size - min(crop), fit=fit), crop
        crop = crop or size
        margins = {side - left for side, left in zip(size, crop, strict=True)}
        if len(margins) > 1:
            raise self._unknown("'size' and 'crop_size' differ otherwise in height than in width")
        return ImageRule(margin=margins.pop(), fit="stretch"), crop

    def _convnext(
        self, own: Mapping[str, Any], size: int | tuple[int, int], crop: tuple[int, int] | None
    ) -> tuple[ImageRule, tuple[int, int]]:
        if not isinstance(size, int) or crop not in (None, (size, size)):
            raise self._unknown("'size' is no shortest edge, or is cropped once more")
        stretched = size >= _UNPROPORTIONED
        share = 1.0 if stretched else self._share(own)
        fit = "stretch" if stretched else "cover"
        return ImageRule(crop_share=share, margin=0, fit=fit), (size, size)

    def _values(self, kind: str, own: Mapping[str, Any]) -> tuple[Channels, Channels]:
        """Return mean and std."""
        mean, std = self._channels(own, "image_mean"), self._channels(own, "image_std")
        if min(std) < LEAST:
            raise self._unknown(f"'image_std' is {own['image_std']!r}")
        # MobileViT's processor has the words, but does not do it.
        if kind == "MobileViT" or not own["do_normalize"]:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if kind == "EfficientNet":
            offset = 1.0 if own["rescale_offset"] else 0.0
            mean = (mean[0] + offset, mean[1] + offset, mean[2] + offset)
            if own["include_top"]:  # divides once more
                again = self._channels(own, "image_std")
                mean, std = mean, (std[0] * again[0], std[1] * again[1], std[2] * again[2])
        return mean, std

    def _crop(self, own: Mapping[str, Any]) -> tuple[int, int] | None:
        crop = own.get("crop_size")
        if crop is None or not own["do_center_crop"]:
            return None
        if not isinstance(crop, Mapping):
            return (self._side(crop, "crop_size"),) * 2
        return (
            self._side(crop.get("height"), "crop_size"),
            self._side(crop.get("width"), "crop_size"),
        )

    def _size(self, size: object, *, square: bool) -> int | tuple[int, int]:
        """Return the shortest edge, or height and width."""
        if not isinstance(size, Mapping):
            side = self._side(size, "size")
            return (side, side) if square else side
        if size.keys() == {"shortest_edge"}:
            return self._side(size["shortest_edge"], "size")
        if size.keys() == {"height", "width"}:
            return self._side(size["height"], "size"), self._side(size["width"], "size")
        raise self._unknown(f"'size' is {dict(size)!r}")

    def _share(self, own: Mapping[str, Any]) -> float:
        share = own["crop_pct"]
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise self._unknown(f"'crop_pct' is {share!r}")
        return float(share)

    def _filter(self, resample: object) -> str:
        if type(resample) is not int or not 0 <= resample < len(INTERPOLATIONS):
            raise self._unknown(f"'resample' is {resample!r}")
        return INTERPOLATIONS[resample]

    def _scale(self, own: Mapping[str, Any]) -> float:
        if not own["do_rescale"]:
            return 1.0
        factor = own["rescale_factor"]
        if type(factor) not in (int, float) or not LEAST <= factor < 2:
            raise self._unknown(f"'rescale_factor' is {factor!r}")
        return float(factor)

    def _channels(self, own: Mapping[str, Any], key: str) -> Channels:
        value = own[key]
        numbers = [value] * 3 if type(value) in (int, float) else value
        is_three = isinstance(numbers, list | tuple) and len(numbers) == 3
        if not is_three or not all(type(x) in (int, float) and abs(x) < 1e6 for x in numbers):
            raise self._unknown(f"'{key}' is {value!r}")
        return float(numbers[0]), float(numbers[1]), float(numbers[2])

    def _side(self, value: object, key: str) -> int:
        if type(value) is not int or not 0 < value < 10**6:
            raise self._unknown(f"'{key}' is {value!r}")
        return value

    def _unknown(self, what: str) -> UsageError:
        return UsageError(
            f"{self.file} cannot be followed: {clean(elide(what, _LONGEST))}.",
            "Take the file out of the folder, and say how images are fed with --mean, --std, "
            "--crop, --interpolation and --channel-order.",
        )
