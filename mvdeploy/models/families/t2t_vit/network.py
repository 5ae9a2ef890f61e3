"""T2T-ViT as a torch module.

Li Yuan, Yunpeng Chen, Tao Wang, Weihao Yu, Yujun Shi, Zihang Jiang, Francis E. H. Tay, Jiashi Feng
and Shuicheng Yan: "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet",
ICCV 2021, arXiv 2101.11986. The authors' code is yitu-opensource/T2T-ViT (at 0f63dc9): widths,
heads and ratios from ``models/t2t_vit.py``, the performer from ``models/token_performer.py``, the
table of positions from ``models/transformer_block.py``, the share of the crop (0.9) from the
networks' ``default_cfgs``. The authors' README gives 4.3 M parameters and 1.1 G MACs for T2T-ViT-7,
6.9 M and 1.8 G for T2T-ViT-12; both counts have the fixed tables in them.

Attention divides by the root of a head's width. The authors' ``pretrained=True`` divides by that
of the whole width instead, but there is no file behind it; their README evaluates the released
weights by ``main.py --eval_checkpoint``, which leaves the scale as it is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.records import Category

DIM, HEADS, RATIO = 256, 4, 2
TOKEN_DIM = 64
FEATURES = TOKEN_DIM // 2


class KernelLinear(nn.Linear):
    """Keys, queries and values for exponentials: large ones would be 0 or without bounds."""

    gain = 0.3


class TokenPerformer(nn.Module):
    """Attention in linear time and a perceptron: (B, N, dim) → (B, N, 64).

    softmax(q·k) is taken as φ(q)·φ(k) with φ(x) = exp(w·x - |x|²/2) / √m, the m rows of w being
    random and orthogonal. There is one head, and the values are the shortcut.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.kqv = KernelLinear(dim, 3 * TOKEN_DIM)
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.GELU(), nn.Linear(TOKEN_DIM, TOKEN_DIM)
        )
        self.w = nn.Parameter(_orthogonal(FEATURES, TOKEN_DIM), requires_grad=False)

    def features(self, x: Tensor) -> Tensor:
        """Return φ of each token: (B, N, 64) → (B, N, m)."""
        half = (x * x).sum(dim=-1, keepdim=True) / 2
        return torch.exp(F.linear(x, self.w) - half) / math.sqrt(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = _vit.thirds(self.kqv(self.norm1(x)))
        k, q = self.features(k), self.features(q)
        sums = torch.bmm(q, k.sum(dim=1, keepdim=True).transpose(1, 2))
        mixed = torch.bmm(q, torch.bmm(k.transpose(1, 2), v)) / (sums + 1e-8)
        x = v + self.proj(mixed)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def _orthogonal(rows: int, columns: int) -> Tensor:
    """Return orthogonal rows, each as long as a row of normal numbers is expected to be, by m."""
    return nn.init.orthogonal_(torch.empty(rows, columns)) * math.sqrt(rows)


class TokensToToken(nn.Module):
    """Three times overlapping patches, a performer after two: (B, 3, H, W) → (B, H/16·W/16, dim).

    All of it counts as preparation, its attentions too: it stands where others have an embedding.
    """

    category = Category.PRE_AND_POST

    def __init__(self) -> None:
        super().__init__()
        self.soft_split0 = nn.Unfold(7, stride=4, padding=2)
        self.soft_split1 = nn.Unfold(3, stride=2, padding=1)
        self.soft_split2 = nn.Unfold(3, stride=2, padding=1)
        self.attention1 = TokenPerformer(3 * 7 * 7)
        self.attention2 = TokenPerformer(TOKEN_DIM * 3 * 3)
        self.project = nn.Linear(TOKEN_DIM * 3 * 3, DIM)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = self.attention1(self.soft_split0(x).transpose(1, 2))
        x = self.soft_split1(_vit.to_map(x, (height // 4, width // 4)))
        x = self.attention2(x.transpose(1, 2))
        x = self.soft_split2(_vit.to_map(x, (height // 8, width // 8)))
        out: Tensor = self.project(x.transpose(1, 2))
        return out


class T2TViT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        depth: number of blocks.
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 16; the table of positions depends on it.
    """

    category = Category.PRE_AND_POST

    def __init__(self, depth: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        tokens = 1 + (image_size[0] // 16) * (image_size[1] // 16)
        self.tokens_to_token = TokensToToken()
        self.cls_token = _vit.learned(1, 1, DIM)
        self.pos_embed = nn.Parameter(_sinusoids(tokens, DIM)[None], requires_grad=False)
        self.blocks = nn.Sequential(
            *(
                _vit.Block(DIM, _vit.Attention(DIM, HEADS, qkv_bias=False), RATIO, eps=1e-5)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _vit.prepend(self.cls_token, self.tokens_to_token(x)) + self.pos_embed
        x = self.norm(self.blocks(x))
        out: Tensor = self.head(x[:, :1].flatten(1))
        return out


def _sinusoids(positions: int, dim: int) -> Tensor:
    """Return (positions, dim): sines at even places, cosines at odd ones."""
    pairs = torch.arange(dim, dtype=torch.float64) // 2
    places = torch.arange(positions, dtype=torch.float64)[:, None]
    angles = places / 10000 ** (2 * pairs / dim)
    even = torch.arange(dim) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos()).float()
