"""PVT as a torch module.

Wenhai Wang, Enze Xie, Xiang Li, Deng-Ping Fan, Kaitao Song, Ding Liang, Tong Lu, Ping Luo and Ling
Shao: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions",
ICCV 2021, arXiv 2102.12122. The authors' code is whai362/PVT (at 57e2dfa): sizes, epsilons and
names from ``classification/pvt.py``. The authors' README gives 13.2 M parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

DIMS = (64, 128, 320, 512)
HEADS = (1, 2, 5, 8)
RATIOS = (8, 8, 4, 4)
REDUCTIONS = (8, 4, 2, 1)
"""Of each stage: keys and values are of patches of so many rows and columns."""
LAST = len(DIMS) - 1
EPS = 1e-6


class ReducedAttention(nn.Module):
    """Attention of all tokens to patches of them, and its residual: (B, H·W, C).

    Without a reduction there may be a class token too.
    """

    category = Category.ATTENTION

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, stride=reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, shortcut: Tensor, grid: Grid) -> Tensor:
        q, dim = self.q(x), x.shape[-1]
        if self.reduction > 1:
            x = self.norm(_vit.to_tokens(self.sr(_vit.to_map(x, grid))))
        kv = self.kv(x)
        out: Tensor = self.proj(_vit.attend(q, kv[..., :dim], kv[..., dim:], self.heads))
        return shortcut + out


class Block(nn.Module):
    """Attention, then a perceptron."""

    def __init__(self, dim: int, heads: int, ratio: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = _vit.AttentionNorm(dim, eps=EPS)
        self.attn = ReducedAttention(dim, heads, reduction)
        self.norm2 = _vit.FeedForwardNorm(dim, eps=EPS)
        self.mlp = _vit.Mlp(dim, ratio)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.attn(self.norm1(x), x, grid)
        out: Tensor = self.mlp(self.norm2(x), x)
        return out


class PVT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        depths: blocks of each of the four stages.
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 32; the tables of positions depend on it.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self, depths: tuple[int, int, int, int], num_classes: int, image_size: Grid
    ) -> None:
        super().__init__()
        self.cls_token = _vit.learned(1, 1, DIMS[-1])
        self.grids = [(image_size[0] // side, image_size[1] // side) for side in (4, 8, 16, 32)]
        for i, dim in enumerate(DIMS):
            patch, channels = (2, DIMS[i - 1]) if i else (4, 3)
            height, width = self.grids[i]
            tokens = height * width + (i == LAST)  # the class token stands in the last stage alone
            blocks = (Block(dim, HEADS[i], RATIOS[i], REDUCTIONS[i]) for _ in range(depths[i]))
            self.add_module(f"patch_embed{i + 1}", _vit.NormedPatchEmbed(patch, dim, channels))
            self.register_parameter(f"pos_embed{i + 1}", _vit.learned(1, tokens, dim))
            self.add_module(f"block{i + 1}", _vit.Stack(blocks))
        self.norm = nn.LayerNorm(DIMS[-1], eps=EPS)
        self.head = nn.Linear(DIMS[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for i, grid in enumerate(self.grids):
            x = self.get_submodule(f"patch_embed{i + 1}")(x)
            if i == LAST:
                x = _vit.prepend(self.cls_token, x)
            x = x + self.get_parameter(f"pos_embed{i + 1}")
            x = self.get_submodule(f"block{i + 1}")(x, grid)
            if i < LAST:
                x = _vit.to_map(x, grid)
        out: Tensor = self.head(self.norm(x)[:, :1].flatten(1))
        return out
