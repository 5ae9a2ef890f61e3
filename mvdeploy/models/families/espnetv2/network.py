"""ESPNetv2 as a torch module.

Its unit, EESP, looks at few channels with four dilations at once; each level begins with a unit of
stride 2 that also sees the image itself, pooled to its size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families._convnet_head import Classifier, Pool
from mvdeploy.records import Category

_STEM = 32
_BRANCHES = 4
_IMAGE = 3


class ConvNorm(nn.Module):
    """Convolution and BatchNorm.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: side of the window.
        stride: of the window.
        groups: of channels that do not see each other.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class ConvNormAct(ConvNorm):
    """Convolution, BatchNorm and PReLU, which has a slope for each channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(super().forward(x))
        return out


class NormAct(nn.Module):
    """BatchNorm and PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(x))
        return out


class Dilated(nn.Module):
    """3x3 depthwise convolution whose weights lie `dilation` pixels apart."""

    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class EESP(nn.Module):
    """1x1 to a quarter of the channels, four dilated 3x3 with their running sums, 1x1.

    Args:
        inputs: channels of the input; as many as `outputs` with stride 1, which is added.
        outputs: channels of the output.
        dilations: of the four, ascending.
        stride: 1, or 2 inside of a `DownSampler`, which adds and activates itself.
    """

    def __init__(
        self, inputs: int, outputs: int, dilations: tuple[int, ...], stride: int = 1
    ) -> None:
        super().__init__()
        self.residual = stride == 1
        branch = outputs // _BRANCHES
        self.proj_1x1 = ConvNormAct(inputs, branch, 1, groups=_BRANCHES)
        self.spp_dw = nn.ModuleList(Dilated(branch, stride, dilation) for dilation in dilations)
        self.conv_1x1_exp = ConvNorm(outputs, outputs, 1, groups=_BRANCHES)
        self.br_after_cat = NormAct(outputs)
        self.module_act = nn.PReLU(outputs)  # of checkpoints too where stride 2 leaves it unused

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.proj_1x1(x)
        sums = [self.spp_dw[0](reduced)]
        for dilated in self.spp_dw[1:]:
            sums.append(dilated(reduced) + sums[-1])
        merged: Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(sums, dim=1)))
        if not self.residual:
            return merged
        out: Tensor = self.module_act(merged + x)
        return out


class DownSampler(nn.Module):
    """Half the size: average pooling beside an EESP of stride 2, and what the image adds.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        dilations: of the EESP.
    """

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.eesp = EESP(inputs, outputs - inputs, dilations, stride=2)
        self.avg = nn.AvgPool2d(3, 2, 1)
        self.inp_reinf = nn.Sequential(ConvNormAct(_IMAGE, _IMAGE, 3), ConvNorm(_IMAGE, outputs, 1))
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor, image: Tensor | None = None) -> Tensor:
        """Give the map; `image` is pooled to the output's size."""
        x = torch.cat((self.avg(x), self.eesp(x)), dim=1)
        if image is not None:
            x = x + self.inp_reinf(image)
        out: Tensor = self.act(x)
        return out


class ESPNetv2(nn.Module):
    """Five levels, each of half the size of the one before.

    Args:
        width: channels of the second level; those after it have twice as many each.
        last: channels before the classifier.
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(self, width: int, last: int, num_classes: int) -> None:
        super().__init__()
        level_2, level_3, level_4, level_5 = (width * 2**i for i in range(4))
        wide, middle, narrow = (1, 2, 3, 4), (1, 1, 2, 3), (1, 1, 1, 2)
        self.level1 = ConvNormAct(_IMAGE, _STEM, 3, 2)
        self.level2_0 = DownSampler(_STEM, level_2, wide)
        self.level3_0 = DownSampler(level_2, level_3, wide)
        self.level3 = nn.Sequential(*(EESP(level_3, level_3, wide) for _ in range(3)))
        self.level4_0 = DownSampler(level_3, level_4, wide)
        self.level4 = nn.Sequential(*(EESP(level_4, level_4, middle) for _ in range(7)))
        # The authors' last one has an image branch too, and does not call it.
        self.level5_0 = DownSampler(level_4, level_5, middle)
        self.level5 = nn.Sequential(
            *(EESP(level_5, level_5, narrow) for _ in range(3)),
            ConvNormAct(level_5, level_5, 3, groups=level_5),
            ConvNormAct(level_5, last, 1, groups=_BRANCHES),
        )
        self.pool = Pool()
        self.classifier = Classifier(last, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(image, 3, 2, 1)
        x = self.level1(image)
        for downsample, level in (
            (self.level2_0, None),
            (self.level3_0, self.level3),
            (self.level4_0, self.level4),
        ):
            pooled = nn.functional.avg_pool2d(pooled, 3, 2, 1)
            x = downsample(x, pooled)
            x = x if level is None else level(x)
        x = self.level5(self.level5_0(x))
        out: Tensor = self.classifier(self.pool(x))
        return out
