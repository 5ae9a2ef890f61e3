"""Fold the scale and shift of each LayerNorm into the linear layers behind it.

Given::

    y = Linear(LayerNorm(x) * gamma + beta; W, b)

Result::

    y = Linear(LayerNorm(x); W * gamma, b + W @ beta)

Engines without a kernel of their own for LayerNorm save two operators for each. A LayerNorm stays
as it is when anything but linear layers uses its result, when it normalises more than the last
axis, when it or one of the layers runs more than once or shares its weights, or when one of them
computes more than its class does.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from mvdeploy.errors import CheckFailed
from mvdeploy.passes._modules import Examples, as_tuple
from mvdeploy.passes._uses import Uses

TOLERANCE = 1e-5


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Fold in place; see the module's docstring."""
    foldable, left = _survey(network, example)
    for place in foldable:
        for layer in place.layers:
            _fold(place.norm, layer)
        place.norm.register_parameter("weight", None)
        place.norm.register_parameter("bias", None)
    return [place.named for place in foldable], left


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that nothing foldable is left."""
    foldable, _ = _survey(network, example)
    if foldable:
        raise CheckFailed(
            f"The LayerNorm of '{foldable[0].named}' could be folded but was not.",
            "Report the network that shows it.",
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    named: str
    norm: nn.LayerNorm
    layers: tuple[nn.Linear, ...]


def _survey(network: nn.Module, example: Examples) -> tuple[list[_Place], list[str]]:
    """Return what to fold, and a line for every LayerNorm with numbers of its own that stays."""
    given: dict[nn.Module, list[Any]] = {}
    made: dict[nn.Module, list[Any]] = {}
    uses = Uses()

    def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given.setdefault(module, []).append(args[0] if args else None)
        made.setdefault(module, []).append(output)

    watched = [m for m in network.modules() if isinstance(m, nn.LayerNorm | nn.Linear)]
    hooks = [module.register_forward_hook(record) for module in watched]
    try:
        with torch.no_grad(), uses:
            result = network(*as_tuple(example))
    finally:
        for hook in hooks:
            hook.remove()
    uses.count.update(id(leaf) for leaf in tree_leaves(result))
    owners = Counter(id(p) for m in network.modules() for p in m.parameters(recurse=False))
    paths = {module: path for path, module in network.named_modules()}
    foldable, left = [], []
    for path, norm in network.named_modules():
        if not isinstance(norm, nn.LayerNorm) or (norm.weight is None and norm.bias is None):
            continue
        results = made.get(norm, [])
        layers = tuple(
            module
            for module, tensors in given.items()
            if isinstance(module, nn.Linear) and any(t is r for t in tensors for r in results)
        )
        reason = _why_not(norm, layers, made, uses, owners)
        if reason:
            left.append(f"{path}: {reason}")
        else:
            into = " and ".join(paths[layer] for layer in layers)
            foldable.append(_Place(f"{path} into {into}", norm, layers))
    return foldable, left


def _why_not(
    norm: nn.LayerNorm,
    layers: tuple[nn.Linear, ...],
    made: dict[nn.Module, list[Any]],
    uses: Uses,
    owners: Counter[int],
) -> str:
    """Return why a LayerNorm has to stay, or an empty string."""
    results = made.get(norm, [])
    if len(results) != 1 or any(len(made[layer]) != 1 for layer in layers):
        return "it or a layer behind it does not run exactly once"
    if not layers or uses.count[id(results[0])] != len(layers) or id(results[0]) in uses.writers:
        return "more than linear layers use its result"
    if len(norm.normalized_shape) != 1:
        return "it normalises more than the last axis"
    if not all(map(_is_plain, (norm, *layers))):
        return "its class, that of a layer behind it, or a hook computes more"
    weights = [p for m in (norm, *layers) for p in m.parameters(recurse=False)]
    if any(owners[id(p)] > 1 or uses.count[id(p)] > 1 for p in weights):
        return "a weight of it or of a layer behind it is used elsewhere too"
    return ""


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its class in torch does, with the parameters that it has."""
    known = type(module).forward in (nn.LayerNorm.forward, nn.Linear.forward)
    hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return known and not hooked and not parametrize.is_parametrized(module)


def _fold(norm: nn.LayerNorm, layer: nn.Linear) -> None:
    """Put the scale and shift of a LayerNorm into a layer; computed in double precision."""
    with torch.no_grad():
        weight = layer.weight.double()
        bias: Tensor = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
        shift = bias.double()
        if norm.bias is not None:
            shift = shift + weight @ norm.bias.double()
        if norm.weight is not None:
            weight = weight * norm.weight.double()
        kind, trained = layer.weight.dtype, layer.weight.requires_grad
        layer.weight = nn.Parameter(weight.to(kind), trained)
        layer.bias = nn.Parameter(shift.to(kind), trained)
