"""CeiT as a torch module.

Kun Yuan, Shaopeng Guo, Ziwei Liu, Aojun Zhou, Fengwei Yu and Wei Wu: "Incorporating Convolution
Designs into Visual Transformers", ICCV 2021, arXiv 2103.11816. The authors' code is coeusguo/ceit
(at 44c16d3): sizes, epsilons and names from ``ceit_model.py``, ``ceit_tiny_patch16_224``. The
published count, as the MobileViT paper's Figure 7 repeats it, is 6.4 M parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

DIM, HEADS, DEPTH, RATIO = 192, 3, 12, 4
STEM_CHANNELS = 64
EPS = 1e-6


class ImageToTokens(nn.Module):
    """A convolution without activation and a pooling: (B, 3, H, W) → (B, 64, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(STEM_CHANNELS)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.maxpool(self.bn(self.conv(x)))
        return out


class HybridEmbed(_vit.PatchEmbed):
    """Patches of what `ImageToTokens` makes: (B, 3, H, W) → (B, H/16·W/16, dim)."""

    def __init__(self) -> None:
        super().__init__(4, DIM, STEM_CHANNELS)
        self.backbone = ImageToTokens()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.backbone(x))


class LocallyEnhancedFeedForward(nn.Module):
    """A perceptron that sees neighbours, on the image's tokens; its residual.

    The class token is left as it was normalised, and added to itself.
    """

    category = Category.FFN

    def __init__(self) -> None:
        super().__init__()
        hidden = RATIO * DIM
        self.conv1 = nn.Conv2d(DIM, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, DIM, 1)
        self.bn3 = nn.BatchNorm2d(DIM)
        self.act = nn.GELU()

    def forward(self, x: Tensor, shortcut: Tensor, grid: Grid) -> Tensor:
        image = _vit.to_map(x[:, 1:], grid)
        image = self.act(self.bn1(self.conv1(image)))
        image = self.act(self.bn2(self.conv2(image)))
        image = self.bn3(self.conv3(image))
        return shortcut + torch.cat((x[:, :1], _vit.to_tokens(image)), dim=1)


class Block(nn.Module):
    """An attention, then the locally enhanced feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = _vit.AttentionNorm(DIM, eps=EPS)
        self.attn = _vit.Attention(DIM, HEADS)
        self.norm2 = _vit.FeedForwardNorm(DIM, eps=EPS)
        self.leff = LocallyEnhancedFeedForward()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.attn(self.norm1(x), x)
        out: Tensor = self.leff(self.norm2(x), x, grid)
        return out


class Blocks(nn.ModuleList):
    """All blocks, of which the class tokens are kept: (B, N, C) → (B, 12, C)."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        classes = []
        for block in self:
            x = block(x, grid)
            classes.append(x[:, :1])
        return torch.cat(classes, dim=1)


class LastAttention(_vit.Attention):
    """Attention of the last token to all, and its residual: (B, N, C) → (B, 1, C)."""

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(x[:, -1:], weight[:DIM], bias[:DIM])
        kv = F.linear(x, weight[DIM:], bias[DIM:])
        out: Tensor = self.proj(_vit.attend(q, kv[..., :DIM], kv[..., DIM:], self.heads))
        return shortcut + out


class LayerwiseBlock(nn.Module):
    """The last block's class token attends to those of all: (B, 12, C) → (B, 1, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = _vit.AttentionNorm(DIM, eps=EPS)
        self.attn = LastAttention(DIM, HEADS)
        self.norm2 = _vit.FeedForwardNorm(DIM, eps=EPS)
        self.feedforward = _vit.Mlp(DIM, RATIO)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm1(x), x[:, -1:])
        out: Tensor = self.feedforward(self.norm2(x), x)
        return out


class CeiT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 16; the table of positions depends on it.
    """

    category = Category.PRE_AND_POST

    def __init__(self, num_classes: int, image_size: Grid) -> None:
        super().__init__()
        tokens = 1 + (image_size[0] // 16) * (image_size[1] // 16)
        self.i2t = HybridEmbed()
        self.cls_token = _vit.learned(1, 1, DIM)
        self.pos_embed = _vit.learned(1, tokens, DIM)
        self.blocks = Blocks(Block() for _ in range(DEPTH))
        self.lca = LayerwiseBlock()
        self.pos_layer_embed = _vit.learned(1, DEPTH, DIM)
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2] // 16, x.shape[3] // 16)
        x = _vit.prepend(self.cls_token, self.i2t(x)) + self.pos_embed
        last = self.lca(self.blocks(x, grid) + self.pos_layer_embed)
        out: Tensor = self.head(self.norm(last).flatten(1))
        return out
