"""The MobileNetV2 network, its modules named as in CVNets."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from mvdeploy.models.families.mobilenetv2 import FIRST, LAST, STAGES
from mvdeploy.models.heads.layers import ConvLayer
from mvdeploy.records import Category

Group = tuple[int, int, int, int]


class Convolution(ConvLayer):
    """`ConvLayer` with ReLU6, as part of the backbone."""

    category = Category.CONVOLUTION

    def __init__(self, cin: int, cout: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(cin, cout, kernel, stride=stride, act=nn.ReLU6)


class InvertedResidual(nn.Module):
    """Expand (unless by 1), depthwise 3x3, project; residual where the shapes allow."""

    category = Category.CONVOLUTION

    def __init__(
        self, cin: int, cout: int, *, stride: int, expansion: int, dilation: int = 1
    ) -> None:
        super().__init__()
        hidden = cin * expansion
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            parts["exp_1x1"] = ConvLayer(cin, hidden, 1, act=nn.ReLU6)
        parts["conv_3x3"] = ConvLayer(
            hidden, hidden, 3, stride=stride, groups=hidden, dilation=dilation, act=nn.ReLU6
        )
        parts["red_1x1"] = ConvLayer(hidden, cout, 1, act=None)
        self.block = nn.Sequential(parts)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class Encoder(nn.Module):
    """(B, 3, H, W) → the maps of layer_4 and layer_5.

    Args:
        output_stride: of layer_5: 32, or 16 where its first block keeps the size of the map and
            the others are dilated by 2.
    """

    category = Category.PRE_AND_POST

    layer_1: nn.Sequential
    layer_2: nn.Sequential
    layer_3: nn.Sequential
    layer_4: nn.Sequential
    layer_5: nn.Sequential

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        self.conv_1 = Convolution(3, FIRST, 3, stride=2)
        cin = FIRST
        for number, groups in enumerate(STAGES, start=1):
            dilated = number == len(STAGES) and output_stride == 16
            setattr(self, f"layer_{number}", _stage(cin, groups, dilated=dilated))
            cin = groups[-1][1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer_3(self.layer_2(self.layer_1(self.conv_1(x))))
        fine: Tensor = self.layer_4(x)
        return fine, self.layer_5(fine)


class MobileNetV2(Encoder):
    """(B, 3, H, W) → (B, classes)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv_1x1_exp = Convolution(STAGES[-1][-1][1], LAST, 1)
        self.classifier = nn.Sequential(
            OrderedDict(
                global_pool=GlobalPool(),
                classifier_dropout=nn.Dropout(0.2),
                classifier_fc=nn.Linear(LAST, num_classes),
            )
        )

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        _, coarse = super().forward(x)
        out: Tensor = self.classifier(self.conv_1x1_exp(coarse))
        return out


class GlobalPool(nn.Module):
    """Mean over the map: (B, C, H, W) → (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _stage(cin: int, groups: tuple[Group, ...], *, dilated: bool) -> nn.Sequential:
    """Return the blocks of a layer; dilated, its stride becomes a dilation after its first."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for expansion, cout, count, first in groups:
        for number in range(count):
            start = not blocks
            blocks[f"mv2_block_{len(blocks)}"] = InvertedResidual(
                cin,
                cout,
                stride=first if number == 0 and not (dilated and start) else 1,
                expansion=expansion,
                dilation=2 if dilated and not start else 1,
            )
            cin = cout
    return nn.Sequential(blocks)
