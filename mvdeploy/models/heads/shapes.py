"""Name and shape of every tensor of the heads, known without torch.

The tests hold them equal to the networks' own.
"""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.tasks.detect import COORDINATES, PRIORS_PER_CELL

Shape = tuple[int, ...]
Tensors = Iterator[tuple[str, Shape]]

_PROJECTED = (512, 256, 256, 128, 128, 64)
_WIDTH = 256


def ssdlite(channels: tuple[int, int], num_classes: int) -> Tensors:
    """Give the tensors of a `Detector` beside its encoder's."""
    *widths, last = _PROJECTED[2:]
    cin = channels[1]
    for level, cout in enumerate(widths):
        path = f"extra_layers.os_{64 << level}"
        yield from conv(f"{path}.dw_conv", 1, cin, 3)
        yield from conv(f"{path}.pw_conv", cin, cout, 1)
        cin = cout
    yield "extra_layers.os_-1.1.block.conv.weight", (last, cin, 1, 1)
    maps = (*channels, *widths, last)
    for level, (cin, cout, priors) in enumerate(
        zip(maps, _PROJECTED, PRIORS_PER_CELL, strict=True)
    ):
        path, outputs = f"ssd_heads.{level}", priors * (COORDINATES + num_classes)
        if level == len(maps) - 1:
            yield from _plain(f"{path}.loc_cls_layer", cin, outputs)
            continue
        if cin != cout:
            yield from conv(f"{path}.proj_layer", cin, cout, 1)
        yield from conv(f"{path}.loc_cls_layer.dw_conv", 1, cout, 3)
        yield from _plain(f"{path}.loc_cls_layer.pw_conv", cout, outputs)


def deeplabv3(channels: int, num_classes: int) -> Tensors:
    """Give the tensors of a `Segmenter` beside its encoder's."""
    path = "seg_head.aspp.aspp_layer"
    for branch, kernel in enumerate((1, 3, 3, 3)):
        yield from conv(f"{path}.convs.{branch}", channels, _WIDTH, kernel)
    yield from conv(f"{path}.convs.4.aspp_pool.conv_1x1", channels, _WIDTH, 1)
    yield from conv(f"{path}.project", 5 * _WIDTH, _WIDTH, 1)
    yield from _plain("seg_head.classifier", _WIDTH, num_classes)


def conv(name: str, cin: int, cout: int, kernel: int) -> Tensors:
    """A convolution with its BatchNorm; `cin` is that of one group."""
    yield f"{name}.block.conv.weight", (cout, cin, kernel, kernel)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.block.norm.{part}", (cout,)
    yield f"{name}.block.norm.num_batches_tracked", ()


def _plain(name: str, cin: int, cout: int) -> Tensors:
    yield f"{name}.block.conv.weight", (cout, cin, 1, 1)
    yield f"{name}.block.conv.bias", (cout,)
