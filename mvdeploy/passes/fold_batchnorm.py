"""Fold each BatchNorm into the convolution or linear layer before it.

Given::

    y = BatchNorm(Conv(x; W, b))          statistics mean, var; affine gamma, beta

Result::

    y = Conv(x; W·s, (b - mean)·s + beta)  with s = gamma / sqrt(var + eps)

Transposed convolutions have s along their second dimension, group by group. A BatchNorm may also be
a `SyncBatchNorm`, one with frozen statistics as torchvision and others write it, or one with more
inside, as timm's with its activation: what it holds stays in its place.

What feeds what is read off a real forward pass, tensor by tensor, so that containers, branches and
shape arithmetic in Python are no obstacle; also through a view of a linear layer's output that
keeps its last axis. A BatchNorm stays where folding would change the result:
when its input is no layer's output, when that output or a weight of the two is used elsewhere too,
when the output is changed in place before, when either of the two runs more than once, or when
either computes more than its parameters say (a hook, or a subclass whose outputs do not scale with
its weights).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter, OrderedDict
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.passes._modules import Examples, as_tuple, replace
from mvdeploy.passes._uses import Uses

TOLERANCE = 1e-5

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Linear)
_WEIGHTS = ("weight", "bias", "running_mean", "running_var")

_SAME = 1e-5
"""How far a BatchNorm that is not torch's may be from torch's function, and a folded layer from the
two before, relative to the largest output."""

_BEYOND = 8
"""Pixels beyond the kernel of the image that a folded layer is compared on."""


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
            _fold_checked(pair)
            replace(network, pair.norm, _held_by(pair.norm))
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
    norm: nn.Module
    layer_path: str
    layer: nn.Module
    argument: Tensor  # of the layer


@dataclasses.dataclass
class _Calls:
    """What a forward pass showed of one module: the tensors of each call."""

    inputs: list[Tensor] = dataclasses.field(default_factory=list)
    outputs: list[Any] = dataclasses.field(default_factory=list)


def _survey(network: nn.Module, example: Examples) -> tuple[list[_Pair], list[str]]:
    """Return the pairs to fold, and a line for every BatchNorm that has to stay."""
    calls: dict[nn.Module, _Calls] = {}
    uses = Uses()

    def record(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        seen = calls.setdefault(module, _Calls())
        seen.inputs.extend((*args, *kwargs.values())[:1])
        seen.outputs.append(output)

    watched = [m for m in network.modules() if _is_norm(m) or isinstance(m, _LAYERS)]
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
        if isinstance(module, _LAYERS)
        for output in seen.outputs
    }
    foldable, left = [], []
    for path, norm in network.named_modules():
        if not _is_norm(norm):
            continue
        seen = calls.get(norm, _Calls())
        between = seen.inputs[0] if seen.inputs else None
        layer = makers.get(id(between))
        if layer is None and id(between) in uses.viewed:
            layer = makers.get(id(uses.viewed[id(between)]))
            layer = layer if isinstance(layer, nn.Linear) else None
        reason = _why_not(norm, layer, calls, uses)
        if reason or layer is None:
            left.append(f"{path}: {reason}")
        else:
            foldable.append(_Pair(path, norm, paths[layer], layer, calls[layer].inputs[0]))
    return foldable, left


def _why_not(
    norm: nn.Module, layer: nn.Module | None, calls: dict[nn.Module, _Calls], uses: Uses
) -> str:
    """Return why a BatchNorm has to stay, or an empty string."""
    seen = calls.get(norm, _Calls())
    if not seen.inputs:
        return "it did not run"
    if len(seen.inputs) > 1:
        return "it is shared: it runs more than once"
    if norm.running_mean is None:
        return "it keeps no running statistics, and takes those of its input"
    if not (_is_plain(norm) or _is_written_otherwise(norm, seen.inputs[0])):
        return "its class or a hook makes it compute more than a BatchNorm does"
    if layer is None:
        return "no convolution or linear layer feeds it directly"
    return _why_not_into(layer, seen.inputs[0], calls, uses) or _why_read(norm, layer, calls, uses)


def _why_not_into(
    layer: nn.Module, between: Tensor, calls: dict[nn.Module, _Calls], uses: Uses
) -> str:
    """Return why nothing can be folded into the layer that made a tensor, or an empty string."""
    if not (_is_plain(layer) or _scales_with_its_weights(layer, calls[layer].inputs[0])):
        return "the layer before it computes more than its class does, or computes its weights"
    if len(calls[layer].outputs) > 1:
        return "the layer before it is shared: it runs more than once"
    for tensor in (between, calls[layer].outputs[0]):
        if id(tensor) in uses.writers:
            return f"{uses.writers[id(tensor)]} changes its input in place"
        if uses.count[id(tensor)] > 1:
            return "the output of the layer before it is used elsewhere too"
    if isinstance(layer, nn.Linear) and between.dim() != 2:
        return "it normalises another axis than the linear layer's outputs"
    return ""


def _why_read(norm: nn.Module, layer: nn.Module, calls: dict[nn.Module, _Calls], uses: Uses) -> str:
    """Return which weight of the two others would miss, or find changed; or an empty string."""
    own = _read_elsewhere(norm, calls, uses.count)
    if own:
        return f"its {own} is read elsewhere too"
    before = _read_elsewhere(layer, calls, uses.count)
    return f"the {before} of the layer before it is read elsewhere too" if before else ""


def _read_elsewhere(module: nn.Module, calls: dict[nn.Module, _Calls], count: Counter[int]) -> str:
    """Return which tensor of a module more operators read than the modules that have it ran."""
    for name in _WEIGHTS:
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        runs = sum(
            len(seen.outputs)
            for owner, seen in calls.items()
            if any(getattr(owner, other, None) is tensor for other in _WEIGHTS)
        )
        if count[id(tensor)] > runs:
            return name
    return ""


def _fold_checked(pair: _Pair) -> None:
    """Fold a BatchNorm, and compare the layer with the two before, whatever follows in the network.

    Raises:
        CheckFailed: it computes something else.
    """
    before, norm = copy.deepcopy(pair.layer).double(), copy.deepcopy(pair.norm)
    _fold(pair.layer, pair.norm)
    image = _cropped(pair.argument, pair.layer).double()
    with torch.no_grad():
        made = before(image)
        rows = made.flatten(0, -2) if isinstance(before, nn.Linear) else made
        expected = _normalised(norm, rows).reshape(made.shape)
        result = copy.deepcopy(pair.layer).double()(image)
    # A NaN is left to the comparison of the outputs.
    if (expected - result).abs().max() > _SAME * max(1.0, float(expected.abs().max())):
        raise CheckFailed(
            f"BatchNorm '{pair.norm_path}' folded into '{pair.layer_path}' computes something "
            "else.",
            "Leave it out (--without-pass fold_batchnorm), and report the network that shows it.",
        )


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """Put the BatchNorm's scale and shift into the layer; computed in double precision."""
    mean, variance = norm.running_mean, norm.running_var
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    weight: Tensor = layer.weight  # type: ignore[assignment]
    bias: Tensor | None = layer.bias  # type: ignore[assignment]
    with torch.no_grad():
        scale = (variance.double() + _epsilon(norm)).rsqrt()
        if isinstance(norm.weight, Tensor):
            scale = scale * norm.weight.double()
        shift = (0.0 if bias is None else bias.double()) - mean.double()
        shift = shift * scale
        if isinstance(norm.bias, Tensor):
            shift = shift + norm.bias.double()
        folded = _scaled(layer, weight.double(), scale)
        layer.weight = nn.Parameter(folded.to(weight.dtype), weight.requires_grad)
        layer.bias = nn.Parameter(shift.to(weight.dtype), weight.requires_grad)


def _scaled(layer: nn.Module, weight: Tensor, scale: Tensor) -> Tensor:
    """Return weights whose outputs are `scale` (channels out) times as large."""
    if not isinstance(layer, _TRANSPOSED):
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    # (in, out/groups, …): the inputs of a group lie together, and its outputs too.
    by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
    scales = scale.reshape(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
    return (by_group * scales).reshape(weight.shape)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its class in torch does, with the parameters that it has."""
    kinds = (_BatchNorm, nn.SyncBatchNorm, *_LAYERS)
    known = any(type(module).forward is kind.forward for kind in kinds)
    hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return known and not hooked and not parametrize.is_parametrized(module)


def _scales_with_its_weights(layer: nn.Module, argument: Tensor) -> bool:
    """Whether a subclass, as timm's that pads first, makes of other weights what a layer does.

    With weights and a bias that are multiples for each channel, its outputs have to be as well.
    """
    if not isinstance(layer, _LAYERS) or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if parametrize.is_parametrized(layer):
        return False
    image = _cropped(argument, layer).double()
    plain = copy.deepcopy(layer).double()
    with torch.no_grad():
        made = plain(image)
        channels = made.shape[-1] if isinstance(layer, nn.Linear) else made.shape[1]
        factors = torch.linspace(0.5, 2.0, channels, dtype=torch.float64)
        shift = torch.zeros_like(factors) if plain.bias is None else plain.bias.clone()
        other = copy.deepcopy(plain)
        other.weight.copy_(_scaled(layer, plain.weight, factors))
        other.bias = nn.Parameter(factors * shift + factors)
        shape = (-1,) if isinstance(layer, nn.Linear) else (-1, *(1,) * (made.dim() - 2))
        wanted = (made + 1) * factors.reshape(shape)
        result = other(image)
    if result.shape != wanted.shape:
        return False
    size = max(1.0, float(wanted.abs().max()))
    return bool((result - wanted).abs().max() <= _SAME * size)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm; torchvision, detectron2 and timm have frozen ones."""
    frozen = type(module).__name__.startswith("FrozenBatchNorm")
    return isinstance(module, _BatchNorm) or (
        frozen and all(isinstance(getattr(module, name, None), Tensor) for name in _WEIGHTS)
    )


def _is_written_otherwise(norm: nn.Module, argument: Tensor) -> bool:
    """Whether a class that is not torch's gives what torch's function and its own modules give."""
    if any(module._forward_hooks or module._forward_pre_hooks for module in norm.modules()):
        return False
    with torch.no_grad():
        # Copies, as an activation may change its input in place.
        expected = _held_by(norm)(_normalised(norm, argument).clone())
        result = norm(argument.clone())
    largest = max(1.0, float(expected.abs().max()))
    return bool((expected - result).abs().max() <= _SAME * largest)


def _held_by(norm: nn.Module) -> nn.Module:
    """Return what is left of a BatchNorm that was folded: the modules it holds, in order."""
    held = dict(norm.named_children())
    return nn.Sequential(OrderedDict(held)) if held else nn.Identity()


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Return what torch's function makes of a tensor, in its precision."""
    numbers = (getattr(norm, name) for name in _WEIGHTS)
    weight, bias, mean, variance = (None if n is None else n.to(x.dtype) for n in numbers)
    return F.batch_norm(x, mean, variance, weight, bias, eps=_epsilon(norm))


def _cropped(image: Tensor, layer: nn.Module) -> Tensor:
    """Return the corner of an image that shows what a convolution does; all rows of others."""
    reach = zip(getattr(layer, "kernel_size", ()), getattr(layer, "dilation", ()), strict=True)
    sides = [(kernel - 1) * dilation + 1 + _BEYOND for kernel, dilation in reach]
    for axis, side in enumerate(reversed(sides), 1):
        image = image.narrow(-axis, 0, min(side, image.shape[-axis]))
    return image


def _epsilon(norm: nn.Module) -> float:
    return float(getattr(norm, "eps", 0.0))
