"""Bring modules that are trained in one form and used in another into the form that is used.

Given, as in MobileOne, RepVGG, FastViT or RepViT::

    y = BatchNorm(Conv3(x)) + BatchNorm(Conv1(x)) + BatchNorm(x)

Result::

    y = Conv(x)

A module says itself how: its method ``reparameterize()`` or ``switch_to_deploy()`` changes it in
place, ``fuse()`` returns what goes into its place, or changes it. Each is tried on a copy of the
module, and kept where the copy gives what the module gave on what it was fed. A layer with nothing
but its BatchNorm behind it is left to the pass that folds those.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map_only

from mvdeploy.passes._modules import Examples, as_tuple, replace

TOLERANCE = 1e-3
"""Generous: sums of branches are rounded to the network's element type, and a deep network makes
much of that. What is taken is held to `SAME`, module by module, before it is rounded."""

SAME = 1e-5

METHODS = ("reparameterize", "switch_to_deploy", "fuse")

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def concerns(network: nn.Module) -> bool:
    """Whether a module has another form for inference."""
    return any(module is not network and _method(module) for module in network.modules())


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Replace every module by its form for inference, those around others first."""
    changed: list[str] = []
    left: list[str] = []
    done = {network}
    while waiting := list(_outermost(network, done)):
        calls = _calls(network, [module for _, module in waiting], example)
        for path, module in waiting:
            done.add(module)
            if module not in calls:
                left.append(f"{path}: it did not run")
                continue
            try:
                other = _other_form(module, calls[module])
            except _RefusedError as refused:
                left.append(f"{path}: {refused}")
                continue
            if _tensors(other) != _tensors(module):
                replace(network, module, other)
                done.add(other)
                parts = f"{_numbers(module):,} numbers, now {_numbers(other):,}"
                changed.append(f"{path} ({type(module).__name__}): {parts}")
    return changed, left


def ensures(network: nn.Module, example: Examples) -> None:
    """Nothing is promised but that the outputs stay, which is checked of every pass."""


class _RefusedError(Exception):
    """The other form of a module is not taken; says why."""


def _method(module: nn.Module) -> str:
    """Return the method that gives a module's form for inference; empty if it has none."""
    if _is_pair(module):
        return ""
    for name in METHODS:
        method = getattr(type(module), name, None)
        if not inspect.isfunction(method):
            continue
        _, *others = inspect.signature(method).parameters.values()
        optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if all(p.default is not p.empty or p.kind in optional for p in others):
            return name
    return ""


def _is_pair(module: nn.Module) -> bool:
    """Whether a module holds a layer and its BatchNorm, and nothing else that has weights."""
    own = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    return len(own) == 2 and isinstance(own[1], _BatchNorm) and not isinstance(own[0], _BatchNorm)


def _outermost(network: nn.Module, done: set[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Return the modules that have another form, and are in none that has."""
    inside: set[nn.Module] = set()
    for path, module in network.named_modules():
        if module not in done and module not in inside and _method(module):
            inside.update(module.modules())
            yield path, module


def _calls(
    network: nn.Module, modules: Sequence[nn.Module], example: Examples
) -> dict[nn.Module, list[_Call]]:
    """Run a network once and return what some of its modules were called with."""
    seen: dict[nn.Module, list[_Call]] = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # What is fed may be changed in place afterwards.
        seen.setdefault(module, []).append(tree_map_only(Tensor, torch.clone, (args, kwargs)))

    hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in modules]
    try:
        with torch.no_grad():
            network(*as_tuple(example))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _other_form(module: nn.Module, calls: Sequence[_Call]) -> nn.Module:
    """Return a module in its form for inference, computed in double precision.

    Raises:
        _RefusedError: it fails, or computes something else on what the module was called with.
    """
    name = _method(module)
    dtypes = {p.dtype for p in module.parameters()} or {torch.float32}
    exact = copy.deepcopy(module).double()
    other = copy.deepcopy(exact)
    try:
        with torch.no_grad():
            returned = getattr(other, name)()
        if isinstance(returned, nn.Module):
            other = returned
        elif returned is not None:
            raise _RefusedError(f"its {name}() returns a {type(returned).__name__}")
        other = other.double().eval()
        difference = max(_difference(exact, other, call) for call in calls)
    except _RefusedError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise _RefusedError(f"its {name}() does not give a module that runs: {reason}") from error
    # Written so that a NaN is refused too.
    if not difference <= SAME:
        raise _RefusedError(f"its {name}() moves its outputs by {difference:.2g} of the largest")
    return other.to(dtypes.pop())


def _difference(one: nn.Module, other: nn.Module, call: _Call) -> float:
    """Return how far two modules are apart, relative to the largest output or to 1."""
    args, kwargs = tree_map_only(Tensor, _as_double, call)
    with torch.no_grad():
        # Either may change what it is given in place.
        wanted = tree_leaves(one(*copy.deepcopy(args), **copy.deepcopy(kwargs)))
        got = tree_leaves(other(*args, **kwargs))
    if len(wanted) != len(got):
        raise _RefusedError("its other form returns other outputs")
    pairs = [(a, b) for a, b in zip(wanted, got, strict=True) if isinstance(a, Tensor)]
    if any(a.shape != b.shape for a, b in pairs):
        raise _RefusedError("its other form returns other shapes")
    return max(
        (float((a - b).abs().max()) / max(1.0, float(a.abs().max())) for a, b in pairs),
        default=0.0,
    )


def _as_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _tensors(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(value.shape)) for name, value in module.state_dict().items()]


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
