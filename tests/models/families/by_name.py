"""Layers that take nothing from the package but weights, by their names in the authors' code.

For rewrites of whole networks that share no code with those they are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Weights:
    """A state dict, or the part of one below a prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self._tensors, self._prefix = tensors, prefix
        self.used: set[str] = set()

    def below(self, path: str) -> Weights:
        inner = Weights(self._tensors, f"{self._prefix}{path}.")
        inner.used = self.used
        return inner

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(self._prefix + name)
        return self._tensors[self._prefix + name]

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def unused(self) -> set[str]:
        """Return the names that nothing has asked for; counters of batches are never asked for."""
        named = {name for name in self._tensors if not name.endswith("num_batches_tracked")}
        return named - self.used

    def _bias(self, path: str) -> Tensor | None:
        name = f"{path}.bias"
        return self[name] if self._prefix + name in self._tensors else None

    def linear(self, path: str, x: Tensor) -> Tensor:
        return F.linear(x, self[f"{path}.weight"], self._bias(path))

    def conv(self, path: str, x: Tensor, **how: Any) -> Tensor:
        return F.conv2d(x, self[f"{path}.weight"], self._bias(path), **how)

    def layer_norm(self, path: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self[f"{path}.weight"], self[f"{path}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    def batch_norm(self, path: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self[f"{path}.{name}"] for name in names))

    def attention(self, path: str, x: Tensor, heads: int) -> Tensor:
        """Attention of all tokens to all: ``qkv`` and ``proj``."""
        q, k, v = split(self.linear(f"{path}.qkv", x), 3, heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.linear(f"{path}.proj", joined(mixed))

    def perceptron(self, path: str, x: Tensor) -> Tensor:
        """Two linear layers with a GELU between them: ``fc1`` and ``fc2``."""
        return self.linear(f"{path}.fc2", F.gelu(self.linear(f"{path}.fc1", x)))


def split(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts · heads · d) → as many as parts of (B, heads, N, d)."""
    batch, tokens, _ = x.shape
    return x.reshape(batch, tokens, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def joined(x: Tensor) -> Tensor:
    """(B, heads, N, d) → (B, N, heads · d)."""
    return x.transpose(1, 2).flatten(2)


def on_map(x: Tensor, height: int, width: int) -> Tensor:
    """(B, H·W, C) → (B, C, H, W)."""
    return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def off_map(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def with_class(token: Tensor, x: Tensor) -> Tensor:
    return torch.cat((token.expand(x.shape[0], -1, -1), x), dim=1)
