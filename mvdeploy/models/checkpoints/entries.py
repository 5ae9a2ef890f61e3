"""Dicts of tensors in a file, at any depth; what wrappers and pruning add to names is removed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

V = TypeVar("V")

_DEEPEST, _MOST = 8, 100_000  # containers that are looked into: files are not to be trusted
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Modules that torch.compile, FSDP and activation checkpointing put around others, at any depth."""


def entries(content: object, kind: type[V]) -> dict[str, dict[str, V]]:
    """Return the tensors of every dict in a file, by where it is: ``state_dict``, ``state.model``.

    Args:
        content: what the file holds; the dict that is all of it has an empty name.
        kind: of the tensors.
    """
    found: dict[str, dict[str, V]] = {}
    seen: set[int] = set()  # a dict can hold itself
    waiting: deque[tuple[tuple[str, ...], object]] = deque([((), content)])
    while waiting and len(seen) < _MOST:
        path, held = waiting.popleft()
        if id(held) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(held))
        items = _items(held)
        if isinstance(held, Mapping):
            tensors = {name: value for name, value in items.items() if isinstance(value, kind)}
            if tensors:
                found.setdefault(".".join(path), _unwrapped(tensors))
        waiting.extend(
            ((*path, name), value)
            for name, value in items.items()
            if isinstance(value, Mapping | list | tuple) and not isinstance(value, kind)
        )
    return found


def _items(held: object) -> dict[str, object]:
    if isinstance(held, Mapping):
        return {name: value for name, value in held.items() if isinstance(name, str)}
    if isinstance(held, list | tuple):
        return {str(place): value for place, value in enumerate(held)}
    return {}


def _unwrapped(held: Mapping[str, V]) -> dict[str, V]:
    plain = {_WRAPPERS.sub("", name): value for name, value in held.items()}
    return plain if len(plain) == len(held) else dict(held)


def masked(held: Mapping[str, V], multiply: Callable[[V, V], V]) -> dict[str, V] | None:
    """Return tensors with the masks of ``torch.nn.utils.prune`` applied; None if there are none.

    Args:
        held: of a pruned ``weight`` it has ``weight_orig`` and ``weight_mask``.
        multiply: makes of the two what ``weight`` is.
    """
    plain = dict(held)
    for name, value in held.items():
        stem = name.removesuffix("_orig")
        if name != stem and f"{stem}_mask" in held:
            plain[stem] = multiply(value, held[f"{stem}_mask"])
            del plain[name], plain[f"{stem}_mask"]
    return plain if len(plain) < len(held) else None
