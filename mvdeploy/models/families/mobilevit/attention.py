"""How tokens attend to one another: softmax as in the paper, and two forms of linear cost.

Shapes: B images, P pixels in a patch, N patches, K of them projected, d token dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mvdeploy.records import Category

HEADS = 4


class Attention(nn.Module):
    """Pre-norm multi-head self-attention with its residual, over N tokens: (B·P, N, d) → same."""

    category = Category.ATTENTION

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        heads = (batch, tokens, HEADS, dim // HEADS)
        q, k, v = self.qkv(self.norm(x)).split(dim, dim=-1)
        q = (q * (dim // HEADS) ** -0.5).reshape(heads).transpose(1, 2)
        k = k.reshape(heads).permute(0, 2, 3, 1)
        v = v.reshape(heads).transpose(1, 2)
        mixed = torch.softmax(q @ k, dim=-1) @ v
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return x + out

    def separated(self) -> SeparateAttention:
        """Return the same attention with projections of their own for q, k and v."""
        return SeparateAttention(self)


class SeparateAttention(nn.Module):
    """`Attention` of three-dimensional tensors only, the scale in q's projection.

    Engines that take no tensors of four dimensions in a matrix product take this one.
    """

    category = Category.ATTENTION

    def __init__(self, packed: Attention) -> None:
        super().__init__()
        self.norm, self.proj = packed.norm, packed.proj
        dim = packed.proj.in_features
        scales = ((dim // HEADS) ** -0.5, 1.0, 1.0)
        weights, biases = (p.chunk(3) for p in (packed.qkv.weight, packed.qkv.bias))
        self.q, self.k, self.v = (
            _scaled_linear(*part) for part in zip(weights, biases, scales, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        width = dim // HEADS
        heads, rows = (batch, tokens, HEADS, width), batch * HEADS
        normed = self.norm(x)
        q = self.q(normed).reshape(heads).transpose(1, 2).reshape(rows, tokens, width)
        k = self.k(normed).reshape(heads).permute(0, 2, 3, 1).reshape(rows, width, tokens)
        v = self.v(normed).reshape(heads).transpose(1, 2).reshape(rows, tokens, width)
        mixed = torch.bmm(torch.softmax(torch.bmm(q, k), dim=-1), v)
        mixed = mixed.reshape(batch, HEADS, tokens, width).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(batch, tokens, dim))
        return x + out


def _scaled_linear(weight: Tensor, bias: Tensor, scale: float) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter((weight.detach().double() * scale).to(weight.dtype))
    layer.bias = nn.Parameter((bias.detach().double() * scale).to(bias.dtype))
    return layer


class TokenLinear(nn.Linear):
    """Weighted sums of tokens: (B·P, d, N) → (B·P, d, K)."""

    gain = 0.5
    """Of random weights: with larger sums softmax takes one token and amplifies rounding."""


class LinformerAttention(nn.Module):
    """`Attention` to K tokens, N of them projected: (B·P, N, d) → same.

    Wang et al., Linformer (2020), equation 7: ``softmax(Q (E K)ᵀ) F V``, with E and F of (K, N)
    shared by the heads. Their weights fit one number of tokens.
    """

    category = Category.ATTENTION

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project_keys = TokenLinear(tokens, projected(tokens), bias=False)
        self.project_values = TokenLinear(tokens, projected(tokens), bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        width = dim // HEADS
        q, k, v = self.qkv(self.norm(x)).split(dim, dim=-1)
        q = (q * width**-0.5).reshape(batch, tokens, HEADS, width).transpose(1, 2)
        k = self.project_keys(k.transpose(1, 2)).reshape(batch, HEADS, width, -1)
        v = self.project_values(v.transpose(1, 2)).reshape(batch, HEADS, width, -1)
        mixed = torch.softmax(q @ k, dim=-1) @ v.transpose(2, 3)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return x + out


def projected(tokens: int) -> int:
    """Return K: a quarter of the tokens, with which Linformer is as good (its figure 3)."""
    return max(1, tokens // 4)


class SeparableAttention(nn.Module):
    """Pre-norm separable self-attention with its residual: (B·P, N, d) → same.

    Mehta and Rastegari, MobileViTv2 (2022), section 3.1, without heads: scores of the N tokens
    weigh the keys, and their sum weighs the values' channels. Tokens meet in no product.
    """

    category = Category.ATTENTION

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 1 + 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(self.norm(x)).split((1, dim, dim), dim=-1)
        # Softmax over the last axis: engines have it, and a tensor of one channel need not move.
        scores = torch.softmax(q.reshape(batch, 1, tokens), dim=-1).reshape(batch, tokens, 1)
        context = (scores * k).sum(1, keepdim=True)
        out: Tensor = self.proj(torch.relu(v) * context)
        return x + out


MAKERS: dict[str, Callable[[int, int], nn.Module]] = {
    "softmax": lambda dim, tokens: Attention(dim),
    "linformer": LinformerAttention,
    "separable": lambda dim, tokens: SeparableAttention(dim),
}
"""By name: (token dimension, tokens) → attention."""
