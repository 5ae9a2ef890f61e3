"""SSDLite: boxes and classes from maps at six output strides.

As CVNets (tag v0.1, ``ssd_mobilevit_*_320.yaml``) has it: maps of the encoder at output strides 16
and 32, three further ones at 64, 128 and 256, and one of a single cell. How many priors a cell has,
and where they lie, is said in `mvdeploy.tasks.detect`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.heads.layers import ConvLayer, SeparableConv
from mvdeploy.records import Category
from mvdeploy.tasks.detect import COORDINATES, PRIORS_PER_CELL

HEAD = Category.declare("detection-head", "Detection head")

PROJECTED = (512, 256, 256, 128, 128, 64)
"""Channels that boxes and classes are computed from, by level."""


class Detector(nn.Module):
    """(B, 3, H, W) → ``boxes`` (B, priors, 4) and ``scores`` (B, priors, classes), both raw.

    Args:
        encoder: returns maps at output strides 16 and 32.
        channels: of these two maps.
        num_classes: with the background, which is the first.
    """

    category = HEAD

    def __init__(self, encoder: nn.Module, channels: tuple[int, int], num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        widths = PROJECTED[2:]
        before = (channels[1], *widths)
        self.extra_layers = nn.ModuleDict(
            {
                f"os_{64 << level}": SeparableConv(before[level], widths[level], stride=2)
                for level in range(3)
            }
        )
        self.extra_layers["os_-1"] = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvLayer(before[3], widths[3], 1, norm=False, bias=False)
        )
        self.ssd_heads = nn.ModuleList(
            Head(cin, projected, priors, num_classes, last=level == len(PROJECTED) - 1)
            for level, (cin, projected, priors) in enumerate(
                zip((*channels, *widths), PROJECTED, PRIORS_PER_CELL, strict=True)
            )
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = list(self.encoder(x))
        for layer in self.extra_layers.values():
            maps.append(layer(maps[-1]))
        levels = [head(one) for head, one in zip(self.ssd_heads, maps, strict=True)]
        boxes, scores = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        return {"boxes": boxes, "scores": scores}


class Head(nn.Module):
    """Boxes and classes of the priors of one map: (B, C, H, W) → (B, H·W·priors, 4 and classes).

    Args:
        cin: channels of the map.
        projected: what they are brought to first, where they differ.
        priors: of each cell.
        num_classes: with the background.
        last: of the map of a single cell, which is not convolved over.
    """

    def __init__(
        self, cin: int, projected: int, priors: int, num_classes: int, *, last: bool
    ) -> None:
        super().__init__()
        self.proj_layer = ConvLayer(cin, projected, 1) if cin != projected and not last else None
        self.values = COORDINATES + num_classes
        width, outputs = cin if last else projected, priors * self.values
        self.loc_cls_layer = (
            ConvLayer(width, outputs, 1, norm=False, act=None)
            if last
            else SeparableConv(width, outputs, plain=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.proj_layer is not None:
            x = self.proj_layer(x)
        x = self.loc_cls_layer(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)
        return x[..., :COORDINATES], x[..., COORDINATES:]
