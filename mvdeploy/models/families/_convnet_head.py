"""The end of convolutional classifiers: mean over the map and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.records import Category


class Pool(nn.Module):
    """Mean over the map: (batch, channels, height, width) → (batch, channels)."""

    category = Category.PRE_AND_POST

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Classifier(nn.Linear):
    """The last layer."""

    category = Category.PRE_AND_POST
