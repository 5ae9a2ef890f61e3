"""Finding, watching and exchanging modules of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

Examples = Tensor | tuple[Tensor, ...]
"""What a network is run on: its input, or its inputs in order."""

Call = tuple[tuple[object, ...], object]
"""Positional arguments and output of a module."""


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under every name that it has."""
    new.train(old.training)
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, new)


def with_method(network: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Return path and module where a class has a method that says how it is written otherwise."""
    return ((path, m) for path, m in network.named_modules() if hasattr(type(m), name))


def as_tuple(example: Examples) -> tuple[Tensor, ...]:
    """Return the inputs of a network in order, of one or more."""
    return example if isinstance(example, tuple) else (example,)


def calls(
    network: nn.Module, modules: Iterable[nn.Module], example: Examples
) -> dict[nn.Module, list[Call]]:
    """Run a network once and return the calls of some of its modules; without those not called.

    Args:
        network: in eval mode; stays as it is.
        modules: of the network, to watch.
        example: its input, or a tuple of its inputs.
    """
    seen: dict[nn.Module, list[Call]] = {}

    def record(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        seen.setdefault(module, []).append((args, output))

    hooks = [module.register_forward_hook(record) for module in modules]
    try:
        with torch.no_grad():
            network(*as_tuple(example))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
