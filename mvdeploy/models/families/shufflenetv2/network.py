"""ShuffleNetV2 as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families._convnet_head import Classifier, Pool
from mvdeploy.records import Category

_STEM = 24
_REPEATS = (4, 8, 4)
_LAST = 1024


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _depthwise(channels: int, stride: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a 3x3 depthwise convolution and its norm; no activation follows."""
    convolution = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)


class Unit(nn.Module):
    """1x1, 3x3 depthwise and 1x1 convolutions on half of the channels, which are then mixed.

    With stride 2 both branches see the whole input, and the other half is 3x3 depthwise and 1x1.

    Args:
        inputs: channels of the input; as many as `outputs` with stride 1.
        outputs: channels of the output.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.halved = stride == 1
        self.branch1 = nn.Sequential()
        if not self.halved:
            self.branch1 = nn.Sequential(*_depthwise(inputs, stride), *_convolution(inputs, half))
        self.branch2 = nn.Sequential(
            *_convolution(half if self.halved else inputs, half),
            *_depthwise(half, stride),
            *_convolution(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        kept, changed = (x[:, :half], x[:, half:]) if self.halved else (self.branch1(x), x)
        return _shuffle(torch.cat((kept, self.branch2(changed)), dim=1))


def _shuffle(x: Tensor) -> Tensor:
    """Let channels of the two halves take turns: a1 a2 b1 b2 → a1 b1 a2 b2."""
    batch, channels, height, width = x.shape
    halves = x.reshape(batch, 2, channels // 2, height * width)
    return halves.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleNetV2(nn.Module):
    """Convolutions alone: every stage halves the map with its first unit.

    Args:
        widths: channels of the three stages.
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(self, widths: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.conv1 = _convolution(3, _STEM, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages = []
        inputs = _STEM
        for width, repeats in zip(widths, _REPEATS, strict=True):
            units = [
                Unit(inputs if i == 0 else width, width, 2 if i == 0 else 1) for i in range(repeats)
            ]
            stages.append(nn.Sequential(*units))
            inputs = width
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = _convolution(inputs, _LAST)
        self.pool = Pool()
        self.fc = Classifier(_LAST, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        out: Tensor = self.fc(self.pool(self.conv5(x)))
        return out
