"""LocalViT as a torch module.

Yawei Li, Kai Zhang, Jiezhang Cao, Radu Timofte and Luc Van Gool: "LocalViT: Bringing Locality to
Vision Transformers", 2021, arXiv 2104.05707. The authors' code is ofsoundof/LocalViT (at f497260):
sizes, heads (4, where DeiT-Ti has 3), epsilons and names from ``models/localvit.py``,
``localvit_tiny_mlp6_act1``, the 7.7 M parameters of the MobileViT paper's Figure 7, and
``localvit_tiny_mlp4_act3_r192``, the one that the authors call LocalViT-T.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

DIM, HEADS, DEPTH, PATCH = 192, 4, 12, 16
EPS = 1e-6


class SqueezeExcite(nn.Module):
    """Scale each channel by a share that all channels' means have a say in: maps."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]
        return out


class LocalityFeedForward(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions on the image's tokens; their residual.

    The class token stays as it is. There is no LayerNorm before it.
    """

    category = Category.FFN

    def __init__(self, ratio: int, reduction: int | None) -> None:
        super().__init__()
        hidden = ratio * DIM
        # The authors' activations with squeeze-and-excitation are h-swish, else ReLU6.
        act = nn.ReLU6 if reduction is None else nn.Hardswish
        self.conv = nn.Sequential(
            nn.Conv2d(DIM, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            *(() if reduction is None else (SqueezeExcite(hidden, reduction),)),
            nn.Conv2d(hidden, DIM, 1, bias=False),
            nn.BatchNorm2d(DIM),
        )

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        image = _vit.to_map(x[:, 1:], grid)
        image = image + self.conv(image)
        return torch.cat((x[:, :1], _vit.to_tokens(image)), dim=1)


class Block(nn.Module):
    """An attention, then the convolutions."""

    def __init__(self, ratio: int, reduction: int | None) -> None:
        super().__init__()
        self.norm1 = _vit.AttentionNorm(DIM, eps=EPS)
        self.attn = _vit.Attention(DIM, HEADS)
        self.conv = LocalityFeedForward(ratio, reduction)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        out: Tensor = self.conv(self.attn(self.norm1(x), x), grid)
        return out


class LocalViT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        ratio: hidden channels of the feed-forward networks in terms of the width.
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 16; the table of positions depends on it.
        reduction: hidden channels in terms of those that squeeze-and-excitation has; None: without.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self, ratio: int, num_classes: int, image_size: Grid, reduction: int | None = None
    ) -> None:
        super().__init__()
        tokens = 1 + (image_size[0] // PATCH) * (image_size[1] // PATCH)
        self.patch_embed = _vit.PatchEmbed(PATCH, DIM)
        self.cls_token = _vit.learned(1, 1, DIM)
        self.pos_embed = _vit.learned(1, tokens, DIM)
        self.blocks = _vit.Stack(Block(ratio, reduction) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2] // PATCH, x.shape[3] // PATCH)
        x = _vit.prepend(self.cls_token, self.patch_embed(x)) + self.pos_embed
        x = self.blocks(x, grid)
        out: Tensor = self.head(self.norm(x)[:, :1].flatten(1))
        return out
