"""Name and shape of every tensor of the network, known without torch.

Checkpoints are checked against these before anything heavy is imported. The tests hold them equal
to the network's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.models.families.mobilevit import Variant
from mvdeploy.models.heads import shapes as heads

Shape = tuple[int, ...]
_Tensors = Iterator[tuple[str, Shape]]

_EXPANDED_MAX = 960


def classifier(variant: Variant, num_classes: int) -> dict[str, Shape]:
    """Return the shape of every tensor in the network's state dict, in its order."""
    expanded = min(4 * variant.channels[-1], _EXPANDED_MAX)
    return {
        **dict(_encoder(variant)),
        **dict(_conv("conv_1x1_exp", variant.channels[-1], expanded, 1)),
        **dict(_linear("classifier.fc", expanded, num_classes)),
    }


def detector(variant: Variant, num_classes: int) -> dict[str, Shape]:
    """Return the same of the network that detects."""
    fine, coarse = variant.channels[-2:]
    return {**_within(variant), **dict(heads.ssdlite((fine, coarse), num_classes))}


def segmenter(variant: Variant, num_classes: int) -> dict[str, Shape]:
    """Return the same of the network that segments."""
    return {**_within(variant), **dict(heads.deeplabv3(variant.channels[-1], num_classes))}


def _within(variant: Variant) -> dict[str, Shape]:
    """Return the tensors of an encoder that is part of a network."""
    return {f"encoder.{name}": shape for name, shape in _encoder(variant)}


def _encoder(variant: Variant) -> _Tensors:
    channels = variant.channels
    yield from _conv("conv_1", 3, channels[0], 3)
    for block, cin in enumerate((channels[0],)):
        yield from _residual(f"layer_1.{block}", cin, channels[1], variant.expansion)
    for block, cin in enumerate((channels[1], channels[2], channels[2])):
        yield from _residual(f"layer_2.{block}", cin, channels[2], variant.expansion)
    for stage, dim, depth in zip((3, 4, 5), variant.dims, variant.depths, strict=True):
        cin, cout = channels[stage - 1], channels[stage]
        yield from _residual(f"layer_{stage}.0", cin, cout, variant.expansion)
        yield from _mobilevit(f"layer_{stage}.1", cout, dim, depth)


def _residual(name: str, cin: int, cout: int, expansion: int) -> _Tensors:
    hidden = cin * expansion  # a multiple of 8 in every variant
    yield from _conv(f"{name}.expand", cin, hidden, 1)
    yield from _conv(f"{name}.depthwise", 1, hidden, 3)
    yield from _conv(f"{name}.project", hidden, cout, 1)


def _mobilevit(name: str, channels: int, dim: int, depth: int) -> _Tensors:
    yield from _conv(f"{name}.local", channels, channels, 3)
    yield f"{name}.project_in.conv.weight", (dim, channels, 1, 1)
    for layer in range(depth):
        path = f"{name}.transformer.{layer}"
        yield from _norm(f"{path}.attention.norm", dim)
        yield from _linear(f"{path}.attention.qkv", dim, 3 * dim)
        yield from _linear(f"{path}.attention.proj", dim, dim)
        yield from _norm(f"{path}.ffn.norm", dim)
        yield from _linear(f"{path}.ffn.fc1", dim, 2 * dim)
        yield from _linear(f"{path}.ffn.fc2", 2 * dim, dim)
    yield from _norm(f"{name}.norm", dim)
    yield from _conv(f"{name}.project_out", dim, channels, 1)
    yield from _conv(f"{name}.fuse", 2 * channels, channels, 3)


def _conv(name: str, cin: int, cout: int, kernel: int) -> _Tensors:
    """A convolution with its BatchNorm; `cin` is that of one group."""
    yield f"{name}.conv.weight", (cout, cin, kernel, kernel)
    yield from _norm(f"{name}.norm", cout)
    yield f"{name}.norm.running_mean", (cout,)
    yield f"{name}.norm.running_var", (cout,)
    yield f"{name}.norm.num_batches_tracked", ()


def _linear(name: str, cin: int, cout: int) -> _Tensors:
    yield f"{name}.weight", (cout, cin)
    yield f"{name}.bias", (cout,)


def _norm(name: str, width: int) -> _Tensors:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
