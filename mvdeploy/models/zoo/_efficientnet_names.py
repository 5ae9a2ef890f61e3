"""Names of EfficientNets as EfficientNet-PyTorch has them, which others have ported.

That is lukemelas/EfficientNet-PyTorch, and the packages ``efficientnet_pytorch`` and
``efficientnet_lite_pytorch``: ``_blocks.3._depthwise_conv.weight`` is timm's
``blocks.1.1.conv_dw.weight``. Blocks are counted through all stages, and BatchNorms from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_ENDS = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
_EXCITATION = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
_PLAIN = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
    **_EXCITATION,
}
_EXPANDING = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
    **_EXCITATION,
}
_BLOCKS = {"DepthwiseSeparableConv": _PLAIN, "InvertedResidual": _EXPANDING}
"""Class of a block → names of what is in it."""


def of(network: nn.Module) -> dict[str, str]:
    """Return name → theirs for every tensor of an EfficientNet; nothing for other networks."""
    modules = dict(_modules(network))
    names: dict[str, str] = {}
    for name in network.state_dict():
        module, _, tensor = name.rpartition(".")
        if module not in modules:
            return {}
        names[name] = f"{modules[module]}.{tensor}"
    return names


def _modules(network: nn.Module) -> Iterator[tuple[str, str]]:
    yield from _ENDS.items()
    number = 0
    for stage, blocks in enumerate(getattr(network, "blocks", ())):
        for place, block in enumerate(blocks.children()):
            inner = _BLOCKS.get(type(block).__name__, {})
            for own, theirs in inner.items():
                yield f"blocks.{stage}.{place}.{own}", f"_blocks.{number}.{theirs}"
            number += 1
