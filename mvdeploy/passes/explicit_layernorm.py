"""Write LayerNorm over the last dimension with linear layers and elementwise operators.

Given::

    y = LayerNorm(x; weight, bias, eps)

Result, with ``avg`` a linear layer of one output whose weights are all 1/d::

    c = x - avg(x);  y = c · rsqrt(avg(c·c) + eps) · weight + bias

Engines that have no LayerNorm run this as it is. Libraries bring subclasses with a forward of their
own. Whether one computes a plain LayerNorm is read off a real forward pass: on what it was fed, it
must have returned what torch's function returns.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mvdeploy.errors import CheckFailed
from mvdeploy.passes._modules import Examples, calls, replace

TOLERANCE = 1e-5

SAME = 1e-6
"""How far a subclass may be from torch's function, relative to the largest of its outputs."""


class ExplicitLayerNorm(nn.Module):
    """LayerNorm over the last dimension, (…, d) → same, with the parameters of another."""

    avg: Tensor

    def __init__(self, norm: nn.LayerNorm, example: Tensor) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        (dim,) = norm.normalized_shape
        avg = torch.full((1, dim), 1 / dim, dtype=example.dtype, device=example.device)
        self.register_buffer("avg", avg, persistent=False)
        category = getattr(norm, "category", None)
        if category is not None:
            self.category = category  # time is counted as that of the module it replaces

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        centred = x - F.linear(x, self.avg)
        variance = F.linear(centred * centred, self.avg)
        out = centred * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            out = out * self.weight
        return out if self.bias is None else out + self.bias


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Replace every LayerNorm that can be; see the module's docstring."""
    plain, left = _survey(network, example)
    for layernorm in plain.values():
        replace(network, layernorm.norm, ExplicitLayerNorm(layernorm.norm, layernorm.input))
    return list(plain), left


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that no replaceable LayerNorm is left."""
    plain, _ = _survey(network, example)
    for path in plain:
        raise CheckFailed(
            f"LayerNorm '{path}' could be written out but was not.",
            "Report the network that shows it.",
        )


@dataclasses.dataclass(frozen=True)
class _Plain:
    norm: nn.LayerNorm
    input: Tensor


def _survey(network: nn.Module, example: Examples) -> tuple[dict[str, _Plain], list[str]]:
    """Return the LayerNorms to replace by path, and a line for every one that has to stay."""
    norms = {path: m for path, m in network.named_modules() if isinstance(m, nn.LayerNorm)}
    hooked = {m for m in norms.values() if m._forward_hooks or m._forward_pre_hooks}
    called = calls(network, norms.values(), example)
    plain: dict[str, _Plain] = {}
    left = []
    for path, norm in norms.items():
        seen = [(args[0] if len(args) == 1 else None, out) for args, out in called.get(norm, [])]
        reason = _why_not(norm, seen, norm in hooked)
        first = seen[0][0] if seen else None
        if reason or not isinstance(first, Tensor):
            left.append(f"{path}: {reason}")
        else:
            plain[path] = _Plain(norm, first)
    return plain, left


def _why_not(norm: nn.LayerNorm, seen: list[tuple[object, object]], hooked: bool) -> str:
    """Return why a LayerNorm has to stay, or an empty string."""
    if not seen:
        return "it did not run"
    if len(norm.normalized_shape) != 1:
        return f"it normalises {len(norm.normalized_shape)} dimensions, not the last alone"
    if hooked or parametrize.is_parametrized(norm):
        return "a hook or a parametrization makes it compute more than a LayerNorm does"
    if not all(_is_layernorm(norm, argument, result) for argument, result in seen):
        return "its class computes something else than a LayerNorm over the last dimension"
    return ""


def _is_layernorm(norm: nn.LayerNorm, argument: object, result: object) -> bool:
    if not (isinstance(argument, Tensor) and isinstance(result, Tensor)):
        return False
    if argument.shape != result.shape or argument.shape[-1:] != tuple(norm.normalized_shape):
        return False
    with torch.no_grad():
        expected = F.layer_norm(argument, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    largest = max(1.0, float(expected.abs().max()))
    return bool((expected - result).abs().max() <= SAME * largest)
