"""What vision transformers of several papers have in common: (batch, tokens, width) throughout.

The names in the state dict are those of timm's first ``vision_transformer.py``, from which the
authors of these networks started: ``attn.qkv``, ``attn.proj``, ``mlp.fc1``, ``mlp.fc2``. Attention
and perceptron add what they computed to the tokens they are given as ``shortcut``, so that the
addition is part of the branch that it closes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.records import Category

Grid = tuple[int, int]
"""Rows and columns of a map whose pixels are tokens."""


class AttentionNorm(nn.LayerNorm):
    """The LayerNorm before an attention."""

    category = Category.ATTENTION


class FeedForwardNorm(nn.LayerNorm):
    """The LayerNorm before a feed-forward network."""

    category = Category.FFN


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q·kᵀ/√d + bias)·v of several heads, side by side.

    Args:
        q: (B, N, C); each head has d = C / heads of the C.
        k: (B, M, C).
        v: (B, M, C).
        heads: how many.
        bias: of the logits, (heads, N, M) or with a batch before that.

    Returns:
        (B, N, C).
    """
    logits = attention_logits(q, k, heads)
    if bias is not None:
        logits = logits + bias
    return mix(torch.softmax(logits, dim=-1), v)


def attention_logits(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """Return q·kᵀ/√d of (B, N, C) and (B, M, C): (B, heads, N, M)."""
    batch, tokens, width = q.shape
    d = width // heads
    q = q.reshape(batch, tokens, heads, d).transpose(1, 2)
    k = k.reshape(batch, k.shape[1], heads, d).permute(0, 2, 3, 1)
    out: Tensor = (q @ k) * d**-0.5
    return out


def mix(shares: Tensor, v: Tensor) -> Tensor:
    """Return what each token takes of the others: (B, heads, N, M) and (B, M, C) → (B, N, C)."""
    batch, heads, tokens, others = shares.shape
    width = v.shape[-1]
    v = v.reshape(batch, others, heads, width // heads).transpose(1, 2)
    out: Tensor = (shares @ v).transpose(1, 2).reshape(batch, tokens, width)
    return out


def thirds(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of (B, N, 3·C)."""
    width = qkv.shape[-1] // 3
    return qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]


class Attention(nn.Module):
    """Multi-head self-attention and its residual."""

    category = Category.ATTENTION

    def __init__(self, dim: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.proj(attend(*thirds(self.qkv(x)), self.heads))
        return shortcut + out


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, and their residual."""

    category = Category.FFN

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return shortcut + out


class Block(nn.Module):
    """An attention, then a perceptron, each after a LayerNorm.

    Args:
        dim: width of the tokens.
        attention: takes the normalised tokens and the shortcut.
        ratio: hidden width of the perceptron in terms of `dim`.
        eps: of both LayerNorms.
    """

    def __init__(self, dim: int, attention: nn.Module, ratio: int, eps: float) -> None:
        super().__init__()
        self.norm1 = AttentionNorm(dim, eps=eps)
        self.attn = attention
        self.norm2 = FeedForwardNorm(dim, eps=eps)
        self.mlp = Mlp(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm1(x), x)
        out: Tensor = self.mlp(self.norm2(x), x)
        return out


class Stack(nn.ModuleList):
    """Blocks, one after the other, that are told the rows and columns of the tokens' map."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        for block in self:
            x = block(x, grid)
        return x


class PatchEmbed(nn.Module):
    """A linear layer on each patch: (B, 3, H, W) → (B, H/patch · W/patch, dim)."""

    category = Category.PRE_AND_POST

    def __init__(self, patch: int, dim: int, channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.proj(x))


class NormedPatchEmbed(PatchEmbed):
    """`PatchEmbed` with a LayerNorm of its tokens."""

    def __init__(self, patch: int, dim: int, channels: int = 3) -> None:
        super().__init__(patch, dim, channels)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(super().forward(x))
        return out


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, grid: Grid) -> Tensor:
    """(B, H·W, C) → (B, C, H, W)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid)


def learned(*shape: int) -> nn.Parameter:
    """Return a token or a table of positions with small values, as they are before training."""
    return nn.Parameter(0.02 * torch.randn(shape))


def prepend(token: Tensor, x: Tensor) -> Tensor:
    """Put tokens (1, T, C) before those of every image: (B, N, C) → (B, T + N, C)."""
    return torch.cat((token.expand(x.shape[0], -1, -1), x), dim=1)
