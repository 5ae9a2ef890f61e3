"""MobileNetV2 (Sandler et al., CVPR 2018) as CVNets (tag v0.1) has it: known without torch.

It classifies, and is the backbone that MobileViT is compared with in detection and segmentation.
Its tensors have the names of CVNets, so that checkpoints of CVNets load as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.models import feeding
from mvdeploy.models.feeding import Feed
from mvdeploy.models.zoo import without_patches
from mvdeploy.records import Arguments, ModelSpec, Preprocessing
from mvdeploy.records.spec import ImageRule

if TYPE_CHECKING:
    from torch import nn

NAME = "mobilenetv2"
TASKS = ("classify", "detect", "segment")

STAGES = (
    ((1, 16, 1, 1),),
    ((6, 24, 2, 2),),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Expansion, channels, blocks and first stride of the groups of layer_1 … layer_5: the paper's
Table 2."""

FIRST, LAST = 32, 1280
"""Channels of conv_1 and of conv_1x1_exp."""


def names() -> tuple[str, ...]:
    """Return the only model of this family."""
    return (NAME,)


def describe(name: str) -> str:
    """Return one line on a model for listings."""
    return "MobileNetV2 of width 1 (Sandler et al., 2018), as CVNets has it"


def tasks(name: str, arguments: Arguments = ()) -> tuple[str, ...]:
    """Return what it does: classify, detect with SSDLite, segment with DeepLabv3."""
    return TASKS


def defaults(name: str) -> ModelSpec:
    """Return the spec of a model as the paper has it."""
    return ModelSpec(model=name, patches=(), image_size=(224, 224))


def check(spec: ModelSpec) -> None:
    """Refuse a spec that asks for patches."""
    without_patches(spec)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: values 0..1, as a crop or, with a head, as a whole."""
    whole = spec.task != TASKS[0]
    rule = ImageRule(margin=0, fit="stretch") if whole else ImageRule()
    order = "RGB" if spec.weights is None else "BGR"  # a checkpoint of CVNets
    return feeding.steps(Feed(order, rule), spec.image_size)


def build(spec: ModelSpec) -> nn.Module:
    """Build the network, with freshly initialised weights.

    The input is (batch, 3, height, width); the outputs are those of the task.
    """
    from mvdeploy.models.families.mobilenetv2.network import Encoder, MobileNetV2

    fine, coarse = (stage[-1][1] for stage in STAGES[-2:])
    if spec.task == "classify":
        return MobileNetV2(spec.num_classes)
    if spec.task == "detect":
        from mvdeploy.models.heads.ssdlite import Detector

        return Detector(Encoder(), (fine, coarse), spec.num_classes)
    from mvdeploy.models.heads.deeplabv3 import Segmenter

    return Segmenter(Encoder(output_stride=16), coarse, spec.num_classes)
