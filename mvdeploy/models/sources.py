"""The files that a spec names: its checkpoint, and what builds the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from mvdeploy.models import zoo
from mvdeploy.records import ModelSpec


def paths(spec: ModelSpec) -> tuple[str, ...]:
    """Return what a spec names that may be a file or folder: its checkpoint, what builds it."""
    weights = (spec.weights.path,) if spec.weights is not None else ()
    return tuple(filter(None, (*weights, _path_in(spec.model))))


def moved(spec: ModelSpec, find: Callable[[str], str]) -> ModelSpec:
    """Return a spec with another path of what builds the network.

    Args:
        spec: as it was.
        find: the path as it was → as it is now; is not asked when the model's name has none.
    """
    path = _path_in(spec.model)
    if not path:
        return spec
    before, _, after = spec.model.rpartition(path)
    return dataclasses.replace(spec, model=f"{before}{find(path)}{after}")


def code_of(spec: ModelSpec) -> Path | None:
    """Return the Python file that makes a network; None for one of a library."""
    kind = zoo.find(spec.model)
    return Path(kind.path_in(spec.model)) if kind is not None and hasattr(kind, "allow") else None


def is_held(spec: ModelSpec) -> bool:
    """Say whether a program holds the network: nothing else tells what it is made of."""
    return bool(getattr(zoo.find(spec.model), "HELD", False))


def _path_in(model: str) -> str:
    kind = zoo.find(model)
    return kind.path_in(model) if kind is not None and hasattr(kind, "path_in") else ""
