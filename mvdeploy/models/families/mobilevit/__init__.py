"""MobileViT (Mehta & Rastegari, ICLR 2022): what can be asked for, known without torch.

Architecture: the paper's Table 4 and Figure 1b, as CVNets (tag v0.1) builds it. Patch sizes are
free for each stage that has patches; the weights do not depend on them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.models.feeding import Feed
from mvdeploy.records import ModelSpec, PatchSize, Preprocessing
from mvdeploy.records.spec import Arguments, ImageRule, parse_patches

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.models import Converted
    from mvdeploy.models.families.mobilevit.checkpoints import Candidates
    from mvdeploy.records import WeightsFile


@dataclasses.dataclass(frozen=True)
class Variant:
    """The sizes of one network.

    Attributes:
        channels: output channels of conv_1 and layer_1 … layer_5.
        dims: token dimensions of the transformers in layer_3, layer_4 and layer_5.
        expansion: ratio of the hidden to the input channels in inverted residual blocks.
        depths: transformer layers of layer_3, layer_4 and layer_5.
    """

    channels: tuple[int, int, int, int, int, int]
    dims: tuple[int, int, int]
    expansion: int
    depths: tuple[int, int, int] = (2, 4, 3)


VARIANTS = {
    "mobilevit_xxs": Variant((16, 16, 24, 48, 64, 80), (64, 80, 96), 2),
    "mobilevit_xs": Variant((16, 32, 48, 64, 80, 96), (96, 120, 144), 4),
    "mobilevit_s": Variant((16, 32, 64, 96, 128, 160), (144, 192, 240), 4),
}

PATCH_STRIDES = (8, 16, 32)
"""Output strides of the stages that unfold their map into patches: layer_3, layer_4, layer_5."""

TASKS = ("classify", "detect", "segment")

SEGMENTED_STRIDE = 16
"""Output stride of layer_5 in the network that segments: its first block keeps the map's size."""

ATTENTION = "attention"
DEPTHS = "depths"
"""Keywords of what can be made otherwise."""

ATTENTIONS = ("softmax", "linformer", "separable")
"""How tokens attend to one another; the paper's is the first."""

CONFIG_A = parse_patches("2,2,2")
"""The paper's Config-A, its default."""


def names() -> tuple[str, ...]:
    """Return the models of this family."""
    return tuple(VARIANTS)


def tasks(name: str, arguments: Arguments = ()) -> tuple[str, ...]:
    """Return what a model does: classify, detect with SSDLite, segment with DeepLabv3."""
    return TASKS


def defaults(name: str) -> ModelSpec:
    """Return the spec of a model as the paper has it."""
    return ModelSpec(model=name, patches=CONFIG_A, image_size=(256, 256))


def with_arguments(name: str, arguments: Arguments) -> ModelSpec:
    """Return the spec of a model whose ``attention`` or ``depths`` are others.

    Raises:
        UsageError: another keyword, another attention than `ATTENTIONS`, or depths that are not
            three numbers of layers.
    """
    given = dict(arguments)
    attention = given.pop(ATTENTION, ATTENTIONS[0])
    depths = given.pop(DEPTHS, _depths_text(VARIANTS[name]))
    if given:
        raise UsageError(
            f"{name} takes no keyword '{next(iter(given))}'.",
            f"It takes '{ATTENTION}' and '{DEPTHS}'.",
        )
    if attention not in ATTENTIONS:
        raise plugins.unknown("attention", attention, ATTENTIONS)
    if not re.fullmatch(r"[1-9]\d?,[1-9]\d?,[1-9]\d?", depths):
        raise UsageError(
            f"'{depths}' is not how many transformer layers layer_3, layer_4 and layer_5 have.",
            f"Give a number from 1 to 99 for each, as in {DEPTHS}={_depths_text(VARIANTS[name])}.",
        )
    plain = {ATTENTION: ATTENTIONS[0], DEPTHS: _depths_text(VARIANTS[name])}
    made = {ATTENTION: attention, DEPTHS: depths}
    changed = tuple((word, value) for word, value in made.items() if value != plain[word])
    return dataclasses.replace(defaults(name), arguments=changed)


def _depths_text(variant: Variant) -> str:
    return ",".join(map(str, variant.depths))


def _variant(spec: ModelSpec) -> Variant:
    variant = VARIANTS[spec.model]
    first, second, third = map(
        int, dict(spec.arguments).get(DEPTHS, _depths_text(variant)).split(",")
    )
    return dataclasses.replace(variant, depths=(first, second, third))


def is_sized(spec: ModelSpec) -> bool:
    """Say whether weights depend on patches and image size: Linformer projects the tokens."""
    return _attention(spec) == "linformer"


def _attention(spec: ModelSpec) -> str:
    return dict(spec.arguments).get(ATTENTION, ATTENTIONS[0])


def tokens(spec: ModelSpec) -> tuple[int, ...]:
    """Return how many patches each stage has: tokens that attend to one another."""
    maps = [tuple(-(-side // stride) for side in spec.image_size) for stride in _strides(spec)]
    return tuple(
        -(-height // patch.height) * -(-width // patch.width)
        for (height, width), patch in zip(maps, spec.patches, strict=True)
    )


def _strides(spec: ModelSpec) -> tuple[int, ...]:
    last = SEGMENTED_STRIDE if spec.task == "segment" else PATCH_STRIDES[-1]
    return (*PATCH_STRIDES[:-1], last)


def describe(name: str) -> str:
    """Return one line on a model for listings."""
    variant = VARIANTS[name]
    channels = ", ".join(map(str, variant.channels))
    dims = ", ".join(map(str, variant.dims))
    return f"MobileViT, channels {channels}, transformer dimensions {dims}"


def check(spec: ModelSpec) -> None:
    """Refuse a spec that cannot be built.

    Raises:
        UsageError: another number of patch sizes than stages, or a patch larger than its map.
    """
    if len(spec.patches) != len(PATCH_STRIDES):
        raise UsageError(
            f"{spec.model} takes {len(PATCH_STRIDES)} patch sizes, not {len(spec.patches)} "
            f"('{spec.patches_text}').",
            "Give one for each output stride 8, 16 and 32, as in --patches 8,4,2.",
        )
    for stride, patch in zip(_strides(spec), spec.patches, strict=True):
        _check_patch(patch, stride, spec)


def _check_patch(patch: PatchSize, stride: int, spec: ModelSpec) -> None:
    # Every halving is a 3x3 convolution of stride 2 with padding 1: it rounds up.
    height, width = (-(-side // stride) for side in spec.image_size)
    if patch.height > height or patch.width > width:
        raise UsageError(
            f"The patch {patch} is larger than the {height}x{width} map at output stride {stride} "
            f"of a {spec.image_size[0]}x{spec.image_size[1]} image.",
            "Give a smaller patch with --patches or a larger image with --image-size.",
        )


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: as the checkpoint says.

    Seeded weights know no channel order: they are fed RGB, otherwise by CVNets' rule (values 0..1;
    32 pixels of margin, or the whole image, stretched, to detect and to segment).
    """
    weights = spec.weights if spec.weights and spec.weights.channel_order else None
    rule = ImageRule() if spec.task == TASKS[0] else ImageRule(margin=0, fit="stretch")
    feed = Feed(weights.channel_order, weights.images) if weights else Feed("RGB", rule)
    return feeding.steps(feed, spec.image_size)


def checkpoint(spec: ModelSpec, path: Path, num_classes: int | None, key: str | None) -> ModelSpec:
    """Return a model's spec with what its checkpoint says.

    Args:
        spec: the model's defaults.
        path: a file, or a folder as transformers saves it.
        num_classes: what is asked for; None for as many as it has.
        key: where in the file the weights are, if several fit.

    Raises:
        UsageError: the checkpoint is damaged, of another network or of other classes.
    """
    from mvdeploy.models.checkpoints import locate
    from mvdeploy.models.families.mobilevit import checkpoints

    label = _label(spec.model, spec.task)
    inspected = checkpoints.inspect(locate(path), _candidates(), label, key)
    inspected.found.check_classes(num_classes)
    patch = inspected.patch_size
    return dataclasses.replace(
        spec,
        patches=spec.patches if patch is None else (PatchSize(patch, patch),) * len(spec.patches),
        image_size=inspected.feed.image_size or spec.image_size,
        num_classes=inspected.found.classes,
        weights=inspected.weights,
    )


def layouts() -> tuple[str, ...]:
    """Return the layouts that checkpoints can be written in."""
    from mvdeploy.models.families.mobilevit import checkpoints

    return checkpoints.layout_names()


def load(network: nn.Module, weights: WeightsFile, model: str) -> None:
    """Give a network the weights of a checkpoint: all of them, or an error and none.

    Raises:
        UsageError: the checkpoint is gone, has changed or holds values that are no finite numbers.
    """
    from mvdeploy.models import checkpoints as room
    from mvdeploy.models.families.mobilevit import checkpoints

    label = _label(model, _does(network))
    inspected = checkpoints.inspect(room.reopen(weights), _candidates(), label, weights.key)
    room.load(network, inspected.found)


def convert(
    source: Path, layout: str, target: Path, channel_order: str | None, key: str | None
) -> Converted:
    """Write a checkpoint in another layout; see `mvdeploy.models.convert`."""
    from mvdeploy.models.families.mobilevit import checkpoints

    classifiers = _candidates(TASKS[:1])
    return checkpoints.convert(source, layout, target, classifiers, channel_order, key)


def _candidates(does: tuple[str, ...] = TASKS) -> Candidates:
    """Return the networks that a checkpoint may be of, as they are asked for."""
    return {
        _label(name, task): functools.partial(tensors, name, task=task)
        for task in does
        for name in VARIANTS
    }


def _label(name: str, task: str) -> str:
    """Return how a network is asked for: ``mobilevit_s --task detect``."""
    return name if task == TASKS[0] else f"{name} --task {task}"


def _does(network: nn.Module) -> str:
    """Return the task of a network that was built."""
    heads = {"detect": "ssd_heads", "segment": "seg_head"}
    return next((task for task, head in heads.items() if hasattr(network, head)), TASKS[0])


def tensors(name: str, num_classes: int, task: str = "classify") -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a network, without torch."""
    from mvdeploy.models.families.mobilevit import shapes

    kinds = (shapes.classifier, shapes.detector, shapes.segmenter)
    return dict(zip(TASKS, kinds, strict=True))[task](VARIANTS[name], num_classes)


def build(spec: ModelSpec) -> nn.Module:
    """Build the network, with freshly initialised weights.

    The input is (batch, 3, height, width); the outputs are those of the task.
    """
    from mvdeploy.models.families.mobilevit.network import Encoder, MobileViT

    variant = _variant(spec)
    attention, numbers = _attention(spec), tokens(spec)
    if spec.task == "classify":
        return MobileViT(variant, spec.patches, spec.num_classes, attention, numbers)
    fine, coarse = variant.channels[-2:]
    if spec.task == "detect":
        from mvdeploy.models.heads.ssdlite import Detector

        encoder = Encoder(variant, spec.patches, PATCH_STRIDES[-1], attention, numbers)
        return Detector(encoder, (fine, coarse), spec.num_classes)
    from mvdeploy.models.heads.deeplabv3 import Segmenter

    encoder = Encoder(variant, spec.patches, SEGMENTED_STRIDE, attention, numbers)
    return Segmenter(encoder, coarse, spec.num_classes)


def set_patches(network: nn.Module, patches: tuple[PatchSize, ...]) -> None:
    """Change the patch sizes of a built network; its weights stay as they are."""
    from mvdeploy.models.families.mobilevit.network import Encoder

    encoders = [module for module in network.modules() if isinstance(module, Encoder)]
    if not encoders:
        raise TypeError(f"expected a MobileViT, not {type(network).__name__}")
    encoders[0].set_patches(patches)
