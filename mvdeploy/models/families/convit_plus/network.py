"""ConViT as a torch module, four heads of 64.

Stéphane d'Ascoli, Hugo Touvron, Matthew Leavitt, Ari Morcos, Giulio Biroli and Levent Sagun:
"ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases", ICML 2021, arXiv
2103.10697. The authors' code is facebookresearch/convit: names from ``convit.py``, four heads from
``models.py``, ten gated blocks of twelve from ``main.py``. Ti+ has a width
of 256, where Ti has 192; the MobileViT paper's Figure 7 has it as the ConViT of 10 M parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

DIM, HEADS, RATIO, PATCH = 256, 4, 4, 16
GATED, PLAIN = 10, 2
"""Blocks of each kind, in this order; the class token comes between them."""
EPS = 1e-6


class PositionLinear(nn.Linear):
    """Logits of squared distances, which are in the hundreds."""

    gain = 0.02


class GatedAttention(nn.Module):
    """Attention to places and to what is there, mixed by a gate per head; its residual.

    Args:
        grid: rows and columns of the tokens.
    """

    category = Category.ATTENTION
    rel_indices: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.qk = nn.Linear(DIM, 2 * DIM, bias=False)
        self.v = nn.Linear(DIM, DIM, bias=False)
        self.proj = nn.Linear(DIM, DIM)
        self.pos_proj = PositionLinear(3, HEADS)
        self.gating_param = nn.Parameter(torch.ones(HEADS))
        self.register_buffer("rel_indices", _distances(grid), persistent=False)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        qk = self.qk(x)
        content = torch.softmax(_vit.attention_logits(qk[..., :DIM], qk[..., DIM:], HEADS), dim=-1)
        places = torch.softmax(self.pos_proj(self.rel_indices).permute(0, 3, 1, 2), dim=-1)
        gate = torch.sigmoid(self.gating_param).reshape(1, HEADS, 1, 1)
        shares = (1 - gate) * content + gate * places
        shares = shares / shares.sum(dim=-1, keepdim=True)
        out: Tensor = self.proj(_vit.mix(shares, self.v(x)))
        return shortcut + out


def _distances(grid: Grid) -> Tensor:
    """Return how far tokens are apart: (1, N, N, 3), in columns, rows, and the sum of squares."""
    height, width = grid
    rows = torch.arange(height, dtype=torch.float32).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float32).repeat(height)
    dy = rows[None, :] - rows[:, None]
    dx = columns[None, :] - columns[:, None]
    return torch.stack((dx, dy, dx**2 + dy**2), dim=-1)[None]


class Blocks(nn.ModuleList):
    """All blocks, the class token before the plain ones: (B, N, C) → (B, 1 + N, C)."""

    def forward(self, x: Tensor, class_token: Tensor) -> Tensor:
        for i, block in enumerate(self):
            if i == GATED:
                x = _vit.prepend(class_token, x)
            x = block(x)
        return x


class ConViT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 16; the table of positions depends on it.
    """

    category = Category.PRE_AND_POST

    def __init__(self, num_classes: int, image_size: Grid) -> None:
        super().__init__()
        grid = (image_size[0] // PATCH, image_size[1] // PATCH)
        self.patch_embed = _vit.PatchEmbed(PATCH, DIM)
        self.cls_token = _vit.learned(1, 1, DIM)
        self.pos_embed = _vit.learned(1, grid[0] * grid[1], DIM)
        attentions = [
            *(GatedAttention(grid) for _ in range(GATED)),
            *(_vit.Attention(DIM, HEADS, qkv_bias=False) for _ in range(PLAIN)),
        ]
        self.blocks = Blocks(_vit.Block(DIM, a, RATIO, EPS) for a in attentions)
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch_embed(x) + self.pos_embed, self.cls_token)
        out: Tensor = self.head(self.norm(x)[:, :1].flatten(1))
        return out
