"""Small networks for programs in whole numbers, each awkward in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Ops(nn.Module):
    """Layers, and how they are put together."""

    def __init__(self, how: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.how = how

    def forward(self, image: Tensor) -> Any:
        return self.how(self, image)


def _conv(given: int = 3, made: int = 8, size: Any = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(
        given, made, size, **{"padding": size // 2 if isinstance(size, int) else 0, **more}
    )


def _flat(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def _made(how: Callable[[Any, Tensor], Any], **layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in layers.values():
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return Ops(how, **layers)


def plain() -> nn.Module:
    return _made(
        lambda m, x: m.head(_flat(torch.relu(m.conv(x)))), conv=_conv(), head=nn.Linear(8, 5)
    )


def strided() -> nn.Module:
    return _made(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=_conv(stride=2),
        b=_conv(8, 8, 3, stride=(2, 1), padding=(0, 1)),
    )


def dilated() -> nn.Module:
    return _made(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=_conv(padding=2, dilation=2),
        b=_conv(8, 4, 3, dilation=(1, 2), padding=(1, 2)),
    )


def chain() -> nn.Module:
    return _made(lambda m, x: m.c(m.b(m.a(x))), a=_conv(), b=_conv(8, 8, 3), c=_conv(8, 4, 1))


def grouped() -> nn.Module:
    return _made(
        lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x))))),
        a=_conv(),
        b=_conv(8, 8, 3, groups=4),
        c=_conv(8, 8, 1, groups=2),
    )


def depthwise() -> nn.Module:
    return _made(
        lambda m, x: m.c(functional.relu6(m.b(functional.relu6(m.a(x))))),
        a=_conv(),
        b=_conv(8, 16, 3, groups=8),
        c=_conv(16, 4, 1),
    )


def asymmetric() -> nn.Module:
    return _made(
        lambda m, x: m.b(functional.pad(torch.relu(m.a(functional.pad(x, (0, 1, 0, 1)))), (1, 2))),
        a=_conv(padding=0, stride=2),
        b=_conv(8, 8, 3, padding=(0, 1)),
    )


def same() -> nn.Module:
    return _made(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=_conv(padding="same"),
        b=_conv(8, 4, 4, padding="same"),
    )


def strided_pointwise() -> nn.Module:
    return _made(lambda m, x: m.b(torch.relu(m.a(x))), a=_conv(), b=_conv(8, 8, 1, stride=2))


def padded_pointwise() -> nn.Module:
    return _made(lambda m, x: m.b(torch.relu(m.a(x))), a=_conv(), b=_conv(8, 8, 1, padding=1))


def without_bias() -> nn.Module:
    return _made(
        lambda m, x: m.head(_flat(m.b(m.a(x)))),
        a=_conv(bias=False),
        b=_conv(8, 8, 1, bias=False),
        head=nn.Linear(8, 5, bias=False),
    )


def clamped() -> nn.Module:
    return _made(
        lambda m, x: m.c(functional.hardtanh(m.b(functional.relu6(m.a(x))), -0.5, 0.5)),
        a=_conv(),
        b=_conv(8, 8, 3),
        c=_conv(8, 4, 3),
    )


def clamped_pointwise() -> nn.Module:
    return _made(lambda m, x: m.b(functional.relu6(m.a(x))), a=_conv(3, 8, 1), b=_conv(8, 8, 1))


def also_returned() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        z = m.b(y)
        return {"map": y, "point": z, "logits": m.head(_flat(torch.relu(z)))}

    return _made(how, a=_conv(), b=_conv(8, 8, 1), head=nn.Linear(8, 5))


def joined() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = torch.relu(m.a(x))
        z = torch.cat((y, m.b(y), m.c(y)), 1)
        return m.d(z)

    return _made(how, a=_conv(), b=_conv(8, 4, 1), c=_conv(8, 4, 3), d=_conv(16, 4, 3))


def clamped_and_joined() -> nn.Module:
    """What is clamped has the scale of what it is joined with, which reaches further."""

    def how(m: Any, x: Tensor) -> Any:
        y = functional.relu6(m.a(x))
        z = torch.cat((functional.relu(m.b(y)), m.c(y)), 1)
        return m.d(functional.relu(z[:, :4] + z[:, 4:]))

    return _made(how, a=_conv(), b=_conv(8, 4, 3), c=_conv(8, 4, 1), d=_conv(4, 4, 3))


def inverted() -> nn.Module:
    """The block of MobileNetV2, in its small form."""

    def how(m: Any, x: Tensor) -> Any:
        y = m.stem(x)
        z = functional.relu6(m.narrow(functional.relu6(m.expand(y))))
        return m.head(_flat(y + m.reduce(z)))

    return _made(
        how,
        stem=_conv(3, 4, 3),
        expand=_conv(4, 16, 1),
        narrow=_conv(16, 16, 3, groups=16),
        reduce=_conv(16, 4, 1),
        head=nn.Linear(4, 5),
    )


def joined_rows() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = torch.relu(m.a(x))
        return m.b(torch.cat((y, y.flip(2)), 2))

    return _made(how, a=_conv(), b=_conv(8, 4, 3))


def joined_twice() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = torch.relu(m.a(x))
        z = torch.cat((y, y, m.b(y)), 1)
        return m.c(torch.cat((z, m.b(y)), -3))

    return _made(how, a=_conv(), b=_conv(8, 4, 1), c=_conv(24, 4, 3))


def added() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = torch.relu(m.a(x))
        return m.d(y + m.b(y) + functional.max_pool2d(m.c(y), 3, 1, 1))

    return _made(how, a=_conv(), b=_conv(8, 8, 1), c=_conv(8, 8, 3), d=_conv(8, 4, 3))


def added_twice() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.b(y + y) * m.b(y * y)

    return _made(how, a=_conv(), b=_conv(8, 8, 3))


def scaled_channels() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = functional.silu(m.a(x))
        s = torch.sigmoid(m.up(functional.silu(m.down(y.mean((2, 3), keepdim=True)))))
        return m.b(y * s)

    return _made(how, a=_conv(), down=_conv(8, 2, 1), up=_conv(2, 8, 1), b=_conv(8, 4, 3))


def hardswish() -> nn.Module:
    return _made(
        lambda m, x: m.head(_flat(functional.hardswish(m.b(functional.hardswish(m.a(x)))))),
        a=_conv(),
        b=_conv(8, 8, 1),
        head=nn.Linear(8, 5),
    )


def silus() -> nn.Module:
    return _made(
        lambda m, x: m.c(functional.silu(m.b(functional.silu(m.a(x))))),
        a=_conv(),
        b=_conv(8, 8, 1),
        c=_conv(8, 4, 3),
    )


def silus_and_linear() -> nn.Module:
    return _made(
        lambda m, x: m.head(_flat(functional.silu(m.b(functional.silu(m.a(x)))))),
        a=_conv(),
        b=_conv(8, 8, 1),
        head=nn.Linear(8, 5),
    )


def gated() -> nn.Module:
    """A sigmoid that is no SiLU, and one of its own making that is."""

    def how(m: Any, x: Tensor) -> Any:
        y, z = m.a(x), m.b(x)
        return m.c(torch.sigmoid(y) * z + z * torch.sigmoid(z))

    return _made(how, a=_conv(), b=_conv(), c=_conv(8, 4, 3))


def gelus() -> nn.Module:
    return _made(lambda m, x: m.b(functional.gelu(m.a(x))), a=_conv(), b=_conv(8, 8, 1))


def linear_3d() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x).flatten(2).transpose(1, 2)
        return m.head(functional.gelu(m.b(m.norm(y))).mean(1))

    return _made(
        how,
        a=_conv(3, 8, 4, stride=4, padding=0),
        norm=nn.LayerNorm(8),
        b=nn.Linear(8, 12),
        head=nn.Linear(12, 5),
    )


def linear_residual() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x).flatten(2).transpose(1, 2)
        y = y + m.c(functional.silu(m.b(m.norm(y))))
        return m.head(y.mean(1))

    return _made(
        how,
        a=_conv(3, 8, 4, stride=4, padding=0),
        norm=nn.LayerNorm(8),
        b=nn.Linear(8, 12),
        c=nn.Linear(12, 8),
        head=nn.Linear(8, 5),
    )


def class_token() -> nn.Module:
    """A weight is joined with what is computed, as vision transformers do."""

    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x).flatten(2).transpose(1, 2)
        y = torch.cat((m.token.weight[None].expand(len(y), -1, -1), y), 1)
        return m.head(m.norm(m.b(y) + y).mean(1))

    return _made(
        how,
        a=_conv(3, 8, 4, stride=4, padding=0),
        token=nn.Embedding(1, 8),
        b=nn.Linear(8, 8),
        norm=nn.LayerNorm(8),
        head=nn.Linear(8, 5),
    )


def linear_4d() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x).permute(0, 2, 3, 1)
        return m.c(m.b(y).permute(0, 3, 1, 2))

    return _made(how, a=_conv(), b=nn.Linear(8, 6), c=_conv(6, 4, 3))


def only_linear() -> nn.Module:
    return _made(
        lambda m, x: m.b(torch.relu(m.a(x.flatten(1)))), a=nn.Linear(768, 16), b=nn.Linear(16, 5)
    )


def attention() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x).flatten(2).transpose(1, 2)
        return m.head(m.inner(y, y, y, need_weights=False)[0].mean(1))

    return _made(
        how,
        a=_conv(3, 8, 4, stride=4, padding=0),
        inner=nn.MultiheadAttention(8, 2, batch_first=True),
        head=nn.Linear(8, 5),
    )


def ends_in_convolution() -> nn.Module:
    return _made(lambda m, x: m.b(torch.relu(m.a(x))), a=_conv(), b=_conv(8, 4, 3))


def ends_clamped() -> nn.Module:
    return _made(lambda m, x: torch.relu(m.b(m.a(x))), a=_conv(), b=_conv(8, 4, 3))


def one_convolution() -> nn.Module:
    return _made(lambda m, x: m.a(x), a=_conv())


def convolution_1d() -> nn.Module:
    return _made(
        lambda m, x: m.head(m.b(torch.relu(m.a(x.flatten(2)))).mean(2)),
        a=nn.Conv1d(3, 8, 3, padding=1),
        b=nn.Conv1d(8, 8, 1),
        head=nn.Linear(8, 5),
    )


def convolution_3d() -> nn.Module:
    return _made(
        lambda m, x: m.head(m.a(x[:, :, None]).mean((2, 3, 4))),
        a=nn.Conv3d(3, 8, (1, 3, 3)),
        head=nn.Linear(8, 5),
    )


def only_convolution_3d() -> nn.Module:
    return _made(lambda m, x: m.a(x[:, :, None]), a=nn.Conv3d(3, 8, (1, 3, 3)))


def transposed() -> nn.Module:
    return _made(
        lambda m, x: m.c(m.b(torch.relu(m.a(x)))),
        a=_conv(),
        b=nn.ConvTranspose2d(8, 8, 2, 2),
        c=_conv(8, 4, 3),
    )


def zero_weights() -> nn.Module:
    network = _made(
        lambda m, x: m.head(_flat(m.b(m.a(x)) + x.mean())),
        a=_conv(),
        b=_conv(8, 8, 3),
        head=nn.Linear(8, 5),
    )
    with torch.no_grad():
        network.b.weight.zero_()
    return network


def zero_channel() -> nn.Module:
    network = plain()
    with torch.no_grad():
        network.conv.weight[2] = 0
        network.head.weight[1] = 0
    return network


def everything_zero() -> nn.Module:
    network = plain()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


def constant() -> nn.Module:
    """A tensor that never changes."""
    return _made(
        lambda m, x: m.head(_flat(m.b(torch.relu(m.a(x) - 1e3) + 2.0) + x.mean())),
        a=_conv(),
        b=_conv(8, 8, 3),
        head=nn.Linear(8, 5),
    )


def dead() -> nn.Module:
    """A ReLU behind which nothing is left."""
    network = _made(
        lambda m, x: m.head(_flat(m.b(torch.relu(m.a(x))) + x.mean())),
        a=_conv(),
        b=_conv(8, 8, 3),
        head=nn.Linear(8, 5),
    )
    with torch.no_grad():
        network.a.bias.fill_(-100)
    return network


def _times(factor: float) -> nn.Module:
    network = plain()
    with torch.no_grad():
        network.conv.weight *= factor
        network.conv.bias *= factor
        network.head.weight /= factor
    return network


def huge() -> nn.Module:
    return _times(1e30)


def tiny() -> nn.Module:
    return _times(1e-30)


def small() -> nn.Module:
    return _times(1e-6)


def infinite() -> nn.Module:
    return _made(lambda m, x: m.b(m.a(x) * 1e38 * 1e38), a=_conv(), b=_conv(8, 8, 3))


def nan_on_dark() -> nn.Module:
    """What it computes is no number for pictures that are darker than most."""
    return _made(
        lambda m, x: m.head(_flat(m.a(x)) * torch.sqrt(x.mean() + 0.2)),
        a=_conv(),
        head=nn.Linear(8, 5),
    )


def boolean() -> nn.Module:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = _conv(), nn.Linear(8, 5)

        def forward(self, image: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
            x = _flat(self.a(image)) * mask + ids
            return self.head(x)

    torch.manual_seed(0)
    network = Masked()
    return network


boolean.inputs = {  # type: ignore[attr-defined]
    "image": (1, 3, 16, 16),
    "mask": {"shape": (1, 8), "dtype": "bool"},
    "ids": {"shape": (1, 8), "dtype": "int64", "values": (0, 9)},
}


def no_image() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))


no_image.inputs = {"vector": {"shape": (1, 12), "values": (-1, 1)}}  # type: ignore[attr-defined]


def tied() -> nn.Module:
    """One weight for two operators, and one that is read in float too."""

    def how(m: Any, x: Tensor) -> Any:
        y = m.b(torch.relu(m.a(x)))
        z = functional.conv2d(torch.relu(y), m.b.weight, None, padding=1)
        return m.head(_flat(z)) + m.head.weight.sum()

    return _made(how, a=_conv(), b=_conv(8, 8, 3), head=nn.Linear(8, 5))


def called_twice() -> nn.Module:
    return _made(lambda m, x: m.b(torch.relu(m.b(torch.relu(m.a(x))))), a=_conv(), b=_conv(8, 8, 3))


def embedding_tied() -> nn.Module:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(20, 8)
            self.inner = nn.Linear(8, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(torch.relu(self.inner(self.words(ids))))

    torch.manual_seed(0)
    return Tied()


embedding_tied.inputs = {"ids": {"shape": (1, 6), "dtype": "int64", "values": (0, 19)}}  # type: ignore[attr-defined]


def in_place() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        y = functional.relu(y, inplace=True)
        z = functional.silu(m.b(y), inplace=True)
        z += y
        z *= 0.5
        return m.c(functional.hardtanh_(z))

    return _made(how, a=_conv(), b=_conv(8, 8, 1), c=_conv(8, 4, 3))


def odd_names() -> nn.Module:
    network = nn.Sequential()
    torch.manual_seed(0)
    for name in ("conv[1]*?", "größe ☃", "a/b\\c", "-rm", "${HOME}", "x" * 300):
        network.add_module(name, _conv(3, 3, 3))
    return nn.Sequential(network, nn.Flatten(), nn.Linear(3 * 256, 5))


def rounded_only() -> nn.Module:
    """Nothing with weights."""
    return _made(lambda m, x: _flat(x.sin()))


def batched() -> nn.Module:
    return plain()


batched.inputs = {"image": (2, 3, 16, 16)}  # type: ignore[attr-defined]


def both_read() -> nn.Module:
    """What whole-number and float operators read."""

    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.b(y) + torch.tanh(y).mean() + torch.sort(y.flatten(1))[0][:, :1, None, None]

    return _made(how, a=_conv(), b=_conv(8, 8, 3))


def input_both() -> nn.Module:
    """Its input goes into two convolutions, and out."""
    return _made(lambda m, x: {"a": m.a(x), "b": m.b(x), "c": x * 2}, a=_conv(), b=_conv(3, 8, 1))


def computed_weight() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        weight = m.a.weight * torch.tanh(m.gain.weight)
        return m.b(functional.conv2d(x, weight, m.a.bias, padding=1))

    return _made(how, a=_conv(), gain=nn.Linear(1, 1, bias=False), b=_conv(8, 4, 3))


def dynamic_weight() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return functional.conv2d(y, m.b.weight * y.mean(), None)

    return _made(how, a=_conv(), b=_conv(8, 4, 3))


def big_bias() -> nn.Module:
    """Biases that 32 bits do not hold beside such scales."""
    network = plain()
    with torch.no_grad():
        network.conv.weight *= 1e-12
        network.conv.bias.fill_(1.0)
    return network


def normed() -> nn.Module:
    return _made(
        lambda m, x: m.head(_flat(m.n(torch.relu(m.bn(m.a(x)))))),
        a=_conv(bias=False),
        bn=nn.BatchNorm2d(8),
        n=nn.GroupNorm(2, 8),
        head=nn.Linear(8, 5),
    )


def resized() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = torch.relu(m.a(x))
        z = functional.interpolate(m.b(y), scale_factor=2.0, mode="bilinear", align_corners=False)
        return m.c(torch.cat((z, y), 1))

    return _made(how, a=_conv(), b=_conv(8, 8, 3, stride=2), c=_conv(16, 4, 3))


def pooled() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        y = functional.max_pool2d(torch.relu(m.a(x)), 2)
        z = functional.avg_pool2d(m.b(y), 2)
        return m.c(functional.adaptive_avg_pool2d(z, 1))

    return _made(how, a=_conv(), b=_conv(8, 8, 3), c=_conv(8, 5, 1))


def shuffled() -> nn.Module:
    def how(m: Any, x: Tensor) -> Any:
        a, b = torch.relu(m.a(x)).chunk(2, 1)
        y = torch.cat((a, m.b(b)), 1)
        y = y.reshape(-1, 2, 4, 16, 16).transpose(1, 2).reshape(-1, 8, 16, 16)
        return m.c(y)

    return _made(how, a=_conv(), b=_conv(4, 4, 3), c=_conv(8, 4, 1))


def one_channel() -> nn.Module:
    return _made(lambda m, x: m.b(torch.relu(m.a(x))), a=_conv(3, 1, 3), b=_conv(1, 1, 1))


def wide_kernel() -> nn.Module:
    return _made(
        lambda m, x: m.b(m.a(x)),
        a=_conv(3, 8, (1, 7), padding=(0, 3)),
        b=_conv(8, 4, (7, 1), padding=(3, 0)),
    )


def reflected() -> nn.Module:
    return _made(
        lambda m, x: m.b(torch.relu(m.a(x))), a=_conv(padding_mode="reflect"), b=_conv(8, 4, 3)
    )


def before_activation() -> nn.Module:
    """A result that is read before and after its clamp."""

    def how(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.c(m.b(torch.relu(y)) + y)

    return _made(how, a=_conv(), b=_conv(8, 8, 3), c=_conv(8, 4, 1))


def moved() -> nn.Module:
    """Whole numbers that are only moved."""

    def how(m: Any, x: Tensor) -> Any:
        y = functional.pad(functional.max_pool2d(m.a(x), 2), (1, 1, 1, 1))
        z = m.b(y)[:, :, 1:].transpose(2, 3)
        return m.head(m.c(z).flatten(1))

    return _made(how, a=_conv(), b=_conv(8, 8, 3), c=_conv(8, 2, 1), head=nn.Linear(2 * 10 * 9, 5))


FACTORIES = {
    name: made
    for name, made in list(globals().items())
    if getattr(made, "__module__", "") == __name__ and not name.startswith("_") and name != "Ops"
}
for _factory in FACTORIES.values():
    if not hasattr(_factory, "inputs"):
        _factory.image_size = 16
