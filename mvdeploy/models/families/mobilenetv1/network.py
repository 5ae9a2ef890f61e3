"""MobileNetV1 as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.models.families._convnet_head import Classifier, Pool
from mvdeploy.records import Category

_STEM = 32
# Channels and stride of each depthwise separable convolution, in groups as timm names them.
_BLOCKS = (
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), *((512, 1),) * 5),
    ((1024, 2), (1024, 1)),
)


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise and 1x1 convolution, each with BatchNorm and ReLU6.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_dw(x)))
        out: Tensor = self.act(self.bn2(self.conv_pw(x)))
        return out


class MobileNetV1(nn.Module):
    """A convolution, thirteen depthwise separable ones, and a classifier on the mean.

    Args:
        width: factor of all channels.
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        channels = int(_STEM * width)
        self.conv_stem = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU6()
        groups = []
        for group in _BLOCKS:
            blocks = []
            for outputs, stride in group:
                blocks.append(DepthwiseSeparable(channels, int(outputs * width), stride))
                channels = int(outputs * width)
            groups.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*groups)
        self.pool = Pool()
        self.classifier = Classifier(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        out: Tensor = self.classifier(self.pool(x))
        return out
