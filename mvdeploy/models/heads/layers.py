"""The convolution that heads are made of, with the names that CVNets gives its parts."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class ConvLayer(nn.Module):
    """Convolution, then BatchNorm and an activation unless left out; padding keeps the map.

    Args:
        cin: channels of the input.
        cout: channels of the output.
        kernel: side of the square kernel, an odd number.
        stride: of the convolution.
        groups: of the convolution; as many as channels make it depthwise.
        dilation: of the kernel.
        norm: with BatchNorm, and then without a bias.
        act: class of the activation; None for none.
        bias: of the convolution; None for one where there is no BatchNorm.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: bool = True,
        act: type[nn.Module] | None = nn.ReLU,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = nn.Conv2d(
            cin,
            cout,
            kernel,
            stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=not norm if bias is None else bias,
        )
        if norm:
            parts["norm"] = nn.BatchNorm2d(cout)
        if act is not None:
            parts["act"] = act()
        self.block = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class SeparableConv(nn.Module):
    """Depthwise 3x3 with BatchNorm and no activation, then a 1x1 `ConvLayer`.

    Args:
        cin: channels of the input.
        cout: channels of the output.
        stride: of the depthwise convolution.
        plain: the 1x1 has a bias and neither BatchNorm nor activation.
    """

    def __init__(self, cin: int, cout: int, *, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.dw_conv = ConvLayer(cin, cin, 3, stride=stride, groups=cin, act=None)
        self.pw_conv = ConvLayer(cin, cout, 1, norm=not plain, act=None if plain else nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pw_conv(self.dw_conv(x))
        return out
