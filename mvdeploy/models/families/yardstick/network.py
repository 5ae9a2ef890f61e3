"""The yardstick as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.records import Category

_CHANNELS = 32


class Yardstick(nn.Module):
    """A 1x1 and a 3x3 convolution on the input's own grid, then a classifier on the mean.

    Args:
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv2d(3, _CHANNELS, 1)
        self.conv_3x3 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
        self.classifier = Classifier(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.conv_1x1(x))
        x = nn.functional.relu(self.conv_3x3(x))
        out: Tensor = self.classifier(x)
        return out


class Classifier(nn.Module):
    """Mean over the map and a linear layer."""

    category = Category.PRE_AND_POST

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(_CHANNELS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.mean(dim=(2, 3)))
        return out
