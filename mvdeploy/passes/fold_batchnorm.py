"""Fold each BatchNorm into the convolution or linear layer before it.

Given::

    y = BatchNorm(Conv(x; W, b))          statistics mean, var; affine gamma, beta

Result::

    y = Conv(x; W·s, (b - mean)·s + beta)  with s = gamma / sqrt(var + eps)

What feeds what is read off a real forward pass, tensor by tensor, so that containers, branches and
shape arithmetic in Python are no obstacle. A BatchNorm stays where folding would change the result:
when its input is no layer's output, when that output is used elsewhere too, when either of the two
runs more than once, or when either computes more than its parameters say (a subclass, a hook).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.passes._modules import Examples, as_tuple, replace

TOLERANCE = 1e-5

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def requires(network: nn.Module) -> None:
    """Refuse a network in training mode: its BatchNorms use the statistics of the batch."""
    training = [path for path, m in network.named_modules() if m.training and _is_norm(m)]
    if training or network.training:
        where = f" ('{training[0]}')" if training else ""
        raise UsageError(
            f"BatchNorm cannot be folded in training mode{where}.", "Call .eval() on the network."
        )


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Fold in place; see the module's docstring."""
    changed: list[str] = []
    while True:
        foldable, left = _survey(network, example)
        if not foldable:
            return changed, left
        # A BatchNorm behind one that is folded now can be folded in the next round.
        for pair in foldable:
            _fold(pair.layer, pair.norm)
            replace(network, pair.norm, nn.Identity())
            changed.append(f"{pair.norm_path} into {pair.layer_path}")


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that nothing foldable is left."""
    foldable, _ = _survey(network, example)
    if foldable:
        raise CheckFailed(
            f"BatchNorm '{foldable[0].norm_path}' could be folded but was not.",
            "Report the network that shows it.",
        )


@dataclasses.dataclass(frozen=True)
class _Pair:
    norm_path: str
    norm: _BatchNorm
    layer_path: str
    layer: nn.Module


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often each tensor is an operator's argument. Keeps them, so that ids stay true."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self.kept: list[Any] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self.kept.append(leaf)
                self.count[id(leaf)] += 1
        return func(*args, **(kwargs or {}))


@dataclasses.dataclass
class _Calls:
    """What a forward pass showed of one module: the tensors of each call."""

    inputs: list[Tensor] = dataclasses.field(default_factory=list)
    outputs: list[Any] = dataclasses.field(default_factory=list)


def _survey(network: nn.Module, example: Examples) -> tuple[list[_Pair], list[str]]:
    """Return the pairs to fold, and a line for every BatchNorm that has to stay."""
    calls: dict[nn.Module, _Calls] = {}
    uses = _Uses()

    def record(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        seen = calls.setdefault(module, _Calls())
        seen.inputs.extend((*args, *kwargs.values())[:1])
        seen.outputs.append(output)

    watched = [m for m in network.modules() if _is_norm(m) or isinstance(m, _LAYERS)]
    plain = {m for m in watched if _is_plain(m)}
    hooks = [module.register_forward_hook(record, with_kwargs=True) for module in watched]
    try:
        with torch.no_grad(), uses:
            result = network(*as_tuple(example))
    finally:
        for hook in hooks:
            hook.remove()
    uses.count.update(id(leaf) for leaf in tree_leaves(result))

    paths = {module: path for path, module in network.named_modules()}
    makers = {
        id(output): module
        for module, seen in calls.items()
        if isinstance(module, _LAYERS) and module in plain
        for output in seen.outputs
    }
    foldable, left = [], []
    for path, norm in network.named_modules():
        if not isinstance(norm, _BatchNorm):
            continue
        seen = calls.get(norm, _Calls())
        layer = makers.get(id(seen.inputs[0])) if seen.inputs else None
        reason = (
            _why_not(norm, seen, layer, calls, uses.count)
            if norm in plain
            else "its class or a hook makes it compute more than a BatchNorm does"
        )
        if reason or layer is None:
            left.append(f"{path}: {reason}")
        else:
            foldable.append(_Pair(path, norm, paths[layer], layer))
    return foldable, left


def _why_not(
    norm: _BatchNorm,
    seen: _Calls,
    layer: nn.Module | None,
    calls: dict[nn.Module, _Calls],
    uses: Counter[int],
) -> str:
    """Return why a BatchNorm has to stay, or an empty string."""
    if not seen.inputs:
        return "it did not run"
    if len(seen.inputs) > 1:
        return "it is shared: it runs more than once"
    if norm.running_mean is None:
        return "it keeps no running statistics"
    if layer is None:
        return "no convolution or linear layer feeds it directly"
    if len(calls[layer].outputs) > 1:
        return "the layer before it is shared: it runs more than once"
    if uses[id(seen.inputs[0])] > 1:
        return "the output of the layer before it is used elsewhere too"
    if isinstance(layer, nn.Linear) and seen.inputs[0].dim() != 2:
        return "it normalises another axis than the linear layer's outputs"
    return ""


def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    """Put the BatchNorm's scale and shift into the layer; computed in double precision."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    weight: Tensor = layer.weight  # type: ignore[assignment]
    bias: Tensor | None = layer.bias  # type: ignore[assignment]
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = (0.0 if bias is None else bias.double()) - norm.running_mean.double()
        shift = shift * scale
        if norm.bias is not None:
            shift = shift + norm.bias.double()
        shape = (-1, *[1] * (weight.dim() - 1))
        folded = weight.double() * scale.reshape(shape)
        layer.weight = nn.Parameter(folded.to(weight.dtype), weight.requires_grad)
        layer.bias = nn.Parameter(shift.to(weight.dtype), weight.requires_grad)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its class in torch does, with the parameters that it has."""
    kinds = (_BatchNorm, *_LAYERS)
    known = any(type(module).forward is kind.forward for kind in kinds)
    hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return known and not hooked and not parametrize.is_parametrized(module)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm)
