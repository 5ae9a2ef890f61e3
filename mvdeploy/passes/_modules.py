"""Exchanging modules of a network."""

from __future__ import annotations

from torch import nn


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under every name that it has."""
    new.train(old.training)
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, new)
