"""What training scripts put around a state dict: entries of a larger dict, prefixes of names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mvdeploy.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V")

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
_CURRENT = ("state_dict", "model_state_dict", "model", "module")
ENTRIES = (*_AVERAGED, *_CURRENT)
"""Where the weights are looked for. Averaged ones come first: training scripts evaluate these."""

PREFIXES = ("module.", "_orig_mod.", "model.", "ema_model.")
"""Of DataParallel and weight averaging, torch.compile, Lightning, and its averaging."""

_DEEPEST = 4  # a dict can hold itself
_COUNTER = "n_averaged"  # torch's AveragedModel keeps it among the weights


def entry(found: object, file: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors in what a file held, and where in it they were: ``state_dict_ema``.

    Raises:
        UsageError: there are none.
    """
    tensors, path = _descend(found)
    if not tensors:
        raise UsageError(
            f"{file} holds no tensors under names.",
            "Give a file that holds a state dict, alone or as 'state_dict' or 'model'.",
        )
    return tensors, ".".join(path)


def _descend(content: object, depth: int = 0) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    from torch import Tensor

    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}, ()
    for key in ENTRIES:
        tensors, path = _descend(content.get(key), depth + 1)
        if tensors:
            return tensors, (key, *path)
    return {str(name): held for name, held in content.items() if isinstance(held, Tensor)}, ()


def names(held: Mapping[str, V]) -> dict[str, V]:
    """Remove the prefixes that all names have."""
    inner = {name: value for name, value in held.items() if name != _COUNTER}
    for prefix in PREFIXES:
        if inner and all(name.startswith(prefix) for name in inner):
            return names({name.removeprefix(prefix): value for name, value in inner.items()})
    return dict(held)
