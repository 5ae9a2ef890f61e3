"""A small network with every kind of operator that is broken, each three times."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 16


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(CHANNELS, CHANNELS) for _ in range(3))
        self.scale = CHANNELS**-0.5

    def forward(self, x: Tensor) -> Tensor:
        logits = (self.q(x) * self.scale) @ self.k(x).mT
        return torch.softmax(logits, dim=-1) @ self.v(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.act = nn.SiLU()
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = Attention()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        tokens = x.flatten(2).mT
        tokens = tokens + self.attention(self.norm(tokens))
        return tokens.mT.reshape(x.shape)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 4, stride=4)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(image)).mean((2, 3)))


def make() -> nn.Module:
    """Build it."""
    return Small()


make.image_size, make.num_classes = (32, 32), 10  # type: ignore[attr-defined]
