"""Small networks of the kinds that people bring, as factories: docs/models.md lists what becomes of
each, and test_own_networks.py checks that."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

Out = Callable[[Tensor, Tensor], Any]
SIZE = 16


class Net(nn.Module):
    """A layer, its BatchNorm and a head; `out` makes the result of logits and map."""

    def __init__(
        self, out: Out = lambda logits, fmap: logits, conv: nn.Module | None = None, width: int = 8
    ) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(3, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 5)
        self.out = out
        assert isinstance(self.bn.running_mean, Tensor)
        self.bn.running_mean.uniform_(-0.5, 0.5)

    def body(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))

    def forward(self, x: Tensor) -> Any:
        fmap = self.body(x)
        return self.out(self.head(fmap.mean((2, 3))), fmap)


def factory(make: Callable[[], Any], **attributes: Any) -> Callable[[], Any]:
    """Return a factory that calls another; nobody seeds it."""

    def made() -> Any:
        return make()

    for name, value in {"image_size": SIZE, **attributes}.items():
        setattr(made, name, value)
    return made


@dataclasses.dataclass
class Result:
    logits: Tensor
    fmap: Tensor
    loss: Tensor | None = None


Pair = collections.namedtuple("Pair", "near far")

# What it returns.
plain = factory(Net)
as_dict = factory(lambda: Net(lambda a, b: {"logits": a, "maps": [b, 2 * b]}))
as_tuple = factory(lambda: Net(lambda a, b: (a, b)))
as_dataclass = factory(lambda: Net(Result))
as_namedtuple = factory(lambda: Net(Pair))
as_map = factory(lambda: Net(lambda a, b: b))
one_class = factory(lambda: Net(lambda a, b: a[:, :1]))
squeezed = factory(lambda: Net(lambda a, b: a[:, 0]))
whole_numbers = factory(lambda: Net(lambda a, b: {"best": a.argmax(-1), "logits": a}))
nothing = factory(lambda: Net(lambda a, b: None))
its_input = factory(lambda: Net(lambda a, b: {"image": b}))


# What it takes.
class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.words(tokens).mean(1))


class ImageAndText(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.text = nn.Conv2d(3, 4, 3), Text()

    def forward(self, picture: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        return {"picture_mean": self.conv(picture).mean((2, 3)), "words": self.text(tokens)}


class Masked(Net):
    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return self.head((self.body(x) * mask).mean((2, 3)))


TOKENS = {"shape": (1, 6), "dtype": torch.int64, "values": (0, 49)}
PICTURE = (1, 3, SIZE, SIZE)
grey = factory(lambda: Net(conv=nn.Conv2d(1, 8, 3, padding=1)), inputs={"scan": (1, 1, SIZE, SIZE)})
text = factory(Text, inputs={"tokens": TOKENS})
# In another order than the forward's.
image_and_text = factory(ImageAndText, inputs={"tokens": TOKENS, "picture": PICTURE})
masked = factory(Masked, inputs={"x": PICTURE, "mask": {"shape": PICTURE[:1] * 2 + PICTURE[2:]}})
undeclared = factory(Masked)

# How it computes its weights.
weight_norm = factory(lambda: Net(conv=parametrizations.weight_norm(nn.Conv2d(3, 8, 3))))
spectral_norm = factory(lambda: Net(conv=parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))))


@factory
def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the old one
        return Net(conv=nn.utils.weight_norm(nn.Conv2d(3, 8, 3)))


@factory
def old_spectral_norm() -> nn.Module:
    return Net(conv=nn.utils.spectral_norm(nn.Conv2d(3, 8, 3)))


@factory
def compiled() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler imports
        return torch.compile(Net())


@factory
def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the old way
        return torch.jit.trace(Net().eval(), torch.zeros(PICTURE))


@factory
def pruned() -> nn.Module:
    network = Net()
    prune.l1_unstructured(network.conv, "weight", amount=0.5)
    return network


@factory
def synchronised() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(Net())


class Branches(nn.Module):
    """A 3x3 and a 1x1 convolution that are one 3x3 in inference, as in RepVGG."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x) + self.narrow(x)

    def fuse(self) -> nn.Module:
        one = nn.Conv2d(3, self.wide.out_channels, 3, padding=1)
        one.weight.data = self.wide.weight + F.pad(self.narrow.weight, (1, 1, 1, 1))
        assert self.wide.bias is not None and self.narrow.bias is not None
        one.bias = nn.Parameter(self.wide.bias + self.narrow.bias)
        return one


branches = factory(lambda: Net(conv=Branches(8)))


# What is around it.
class AsClass(Net):
    image_size = (SIZE, SIZE)


instance = Net()
instance.image_size = SIZE  # type: ignore[assignment]
parallel = factory(lambda: nn.DataParallel(Net()))
exported = factory(lambda: torch.export.export(Net().eval(), (torch.zeros(PICTURE),)).module())
program = factory(lambda: torch.export.export(Net().eval(), (torch.zeros(PICTURE),)))
halves = factory(lambda: Net().bfloat16())
doubles = factory(lambda: Net().double())
weightless = factory(lambda: Net().to("meta"))
lazy = factory(lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5)))
weights = factory(lambda: Net().state_dict())
number = factory(lambda: 3)
not_made = 3
needs_width = lambda width, depth=1, *more: Net(width=width)  # noqa: E731
wrong_size = factory(Net, image_size="16,16")
other_size = factory(Net, image_size=(3, 16, 16))


# What it does on the way.
class Noisy(Net):
    """Forgets to switch its dropout off."""

    def body(self, x: Tensor) -> Tensor:
        return F.dropout(super().body(x), 0.3)


class Branching(Net):
    def body(self, x: Tensor) -> Tensor:
        y = super().body(x)
        return 2 * y if y.mean() > 0 else y


class Fourier(Net):
    def body(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(super().body(x)).abs()


@torch.library.custom_op("mvdeploy_tests::squash", mutates_args=())
def squash(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


@squash.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Custom(Net):
    def body(self, x: Tensor) -> Tensor:
        return squash(super().body(x))


noisy = factory(Noisy)
branching = factory(Branching)
fourier = factory(Fourier)
custom = factory(Custom)
