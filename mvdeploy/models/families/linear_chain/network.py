"""The chain as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.records import Category

_WIDTHS = tuple(range(16, 112, 8))
"""Numbers between layers, again and again: operators of 0.1 to 2 µs on a phone or laptop, so that
clocks which count in whole microseconds err in both directions."""


class LinearChain(nn.Module):
    """Linear layers and nothing between them, which no engine makes into one.

    Args:
        num_classes: outputs of the last layer.
        length: number of layers.
    """

    category = Category.FFN

    def __init__(self, num_classes: int, length: int) -> None:
        super().__init__()
        inner = (_WIDTHS[i % len(_WIDTHS)] for i in range(length - 1))
        widths = (3, *inner, num_classes)
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to (N, num_classes)."""
        x = x.mean(dim=(2, 3))
        for layer in self.layers:
            x = layer(x)
        return x
