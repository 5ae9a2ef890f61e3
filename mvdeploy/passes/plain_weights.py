"""Compute once, and keep, weights that a network computes each time it runs.

Given::

    y = Conv(x; g · v / |v|)      weight norm; or spectral norm, a pruning mask, a parametrization

Result::

    y = Conv(x; W)

In inference such weights are constants. Written as hooks before a layer or as parametrizations of
it, they cost time, hide the layer from other passes, and are copied with difficulty.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import (
    parametrize,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
)
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mvdeploy.errors import CheckFailed
from mvdeploy.passes._modules import Examples

TOLERANCE = 1e-5


def concerns(network: nn.Module) -> bool:
    """Whether there are such weights."""
    return any(_hooks(network)) or any(map(parametrize.is_parametrized, network.modules()))


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Replace hooks and parametrizations by what they compute."""
    changed = []
    with torch.no_grad():
        for path, module, hook in list(_hooks(network)):
            name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, name)
            else:
                prune.remove(module, name)  # type: ignore[no-untyped-call]
            changed.append(f"{name} of {path or 'the network'} without {type(hook).__name__}")
        for path, module in list(network.named_modules()):
            if not parametrize.is_parametrized(module):
                continue
            _give_own_class(module)
            for name, parts in list(module.parametrizations.items()):
                kinds = ", ".join(type(part).__name__ for part in parts)
                trained = any(p.requires_grad for p in parts.parameters(recurse=False))
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
                if name in module._buffers:  # what is made of several numbers becomes one
                    value = module._buffers.pop(name)
                    module.register_parameter(name, nn.Parameter(value, trained))
                changed.append(f"{name} of {path or 'the network'} without {kinds.lstrip('_')}")
    return changed, []


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that no weight is computed that could be kept."""
    if concerns(network):
        raise CheckFailed(
            "A weight could be computed once but was not.", "Report the network that shows it."
        )


def _hooks(
    network: nn.Module,
) -> Iterator[tuple[str, nn.Module, WeightNorm | SpectralNorm | prune.BasePruningMethod]]:
    """Return path, module and hook of every weight that a hook computes."""
    for path, module in network.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm | prune.BasePruningMethod):
                yield path, module, hook


def _give_own_class(module: nn.Module) -> None:
    """Let a parametrized module be changed without changing those that it is a copy of.

    Its weights are properties of a class that was made for it, which copies share.
    """
    shared = type(module)
    own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, own)
