"""DeepLabv3: a class for every pixel, from a map at output stride 16.

As CVNets (tag v0.1, ``deeplabv3_mobilevit_*.yaml``) has it: atrous spatial pyramid pooling with
full 3x3 convolutions at rates 6, 12 and 18. The logits are brought to the size of the image as
transformers does, bilinear with ``align_corners=False``.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.models.heads.layers import ConvLayer
from mvdeploy.records import Category

HEAD = Category.declare("segmentation-head", "Segmentation head")

RATES = (6, 12, 18)
WIDTH = 256


class Segmenter(nn.Module):
    """(B, 3, H, W) → logits (B, classes, H, W).

    Args:
        encoder: returns maps, that at output stride 16 which is segmented last.
        channels: of that map.
        num_classes: with the background, which is the first.
    """

    category = HEAD

    def __init__(self, encoder: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.seg_head = DeepLabV3(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        *_, coarse = self.encoder(x)
        return _resized(self.seg_head(coarse), x)


class DeepLabV3(nn.Module):
    """(B, C, h, w) → (B, classes, h, w)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.aspp = nn.Sequential(OrderedDict(aspp_layer=PyramidPooling(channels)))
        self.classifier = ConvLayer(WIDTH, num_classes, 1, norm=False, act=None)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.aspp(x))
        return out


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: (B, C, h, w) → (B, 256, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            (
                ConvLayer(channels, WIDTH, 1),
                *(ConvLayer(channels, WIDTH, 3, dilation=rate) for rate in RATES),
                PooledBranch(channels),
            )
        )
        self.project = ConvLayer(len(self.convs) * WIDTH, WIDTH, 1)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.cat([branch(x) for branch in self.convs], dim=1)
        out: Tensor = self.dropout(self.project(branches))
        return out


class PooledBranch(nn.Module):
    """The mean of the map at every place of it: (B, C, h, w) → (B, 256, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        parts = OrderedDict(
            global_pool=nn.AdaptiveAvgPool2d(1), conv_1x1=ConvLayer(channels, WIDTH, 1)
        )
        self.aspp_pool = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        return _resized(self.aspp_pool(x), x)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
