"""Checkpoint → tensors under the network's names → network."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.models.checkpoints import files
from mvdeploy.models.checkpoints.entries import masked
from mvdeploy.models.checkpoints.files import Source, listed
from mvdeploy.models.checkpoints.fitting import COUNTER
from mvdeploy.records.spec import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.models.checkpoints.choosing import Found


_HUGE, _LARGE = 1e15, 1e8
"""Above what weights reach at all, and above what a lone one does; variances reach 1e7."""


def reopen(weights: WeightsFile) -> Source:
    """Find the checkpoint of a spec again.

    Raises:
        UsageError: it is gone, or not as it was when the spec was made.
    """
    source = files.locate(Path(weights.path))
    if source.sha256 != weights.sha256:
        raise UsageError(
            f"{weights.path} is not the checkpoint it was (its sha256 differs).",
            "Run the command again with the checkpoint that is meant.",
        )
    return source


def load(network: nn.Module, found: Found) -> None:
    """Give a network the weights of a checkpoint: all of them, or an error and none.

    Args:
        network: takes them in place.
        found: tensors that fit.

    Raises:
        UsageError: see `tensors`.
    """
    held = network.state_dict()
    read = tensors(found, held)
    # Counters that old checkpoints lack are 0, whatever the network was given before.
    rest = {
        name: held[name].new_zeros(()) if name.endswith(COUNTER) else held[name]
        for name in held.keys() - read.keys()
    }
    network.load_state_dict(read | rest)


def tensors(found: Found, own: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, under our names; counters that it lacks are left out.

    Args:
        found: tensors that fit.
        own: those of the network, which may hold whole numbers besides counters.

    Raises:
        UsageError: a tensor is of a type that is no weight's, or holds NaN or infinity.
    """
    import torch

    theirs = _values([found])[0]
    _check_values(found, theirs, own or {})
    renamed = {}
    for name, parts in found.wanted.names.items():
        if parts[0] in theirs:
            pieces = [theirs[part] for part in parts]
            renamed[name] = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return renamed


def same(found: Sequence[Found]) -> bool:
    """Say whether what was found more than once in a checkpoint is the same each time."""
    first, *others = (
        {name: tensor for name, tensor in held.items() if not name.endswith(COUNTER)}
        for held in _values(found)
    )
    return all(
        first.keys() == other.keys()
        and all(map(_is_plain, (*first.values(), *other.values())))
        and all(_equal(tensor, other[name]) for name, tensor in first.items())
        for other in others
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    """Compare bits: of some types torch does not compare the values."""
    import torch

    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def _values(found: Sequence[Found]) -> list[dict[str, Tensor]]:
    """Read what was found in one checkpoint, under the names it has there without prefixes."""
    entries = files.tensors(files.content(found[0].source, values=True))
    read = []
    for one in found:
        held = entries[one.copy.entry]
        if one.copy.masked:
            held = masked(held, functools.partial(_masked, one)) or held
        read.append({name: held[f"{one.copy.prefix}{name}"].detach() for name in one.copy.held})
    return read


def _masked(found: Found, original: Tensor, mask: Tensor) -> Tensor:
    if original.shape != mask.shape or not ((mask == 0) | (mask == 1)).all():
        raise UsageError(
            f"{found} has pruning masks with other values than 0 and 1.",
            "Apply them with torch.nn.utils.prune.remove, and save the state dict again.",
        )
    return original * mask


def _check_values(found: Found, held: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    whole = {
        found.wanted.names[name][0]
        for name, tensor in own.items()
        if name in found.wanted.names and not (tensor.is_floating_point() or name.endswith(COUNTER))
    }
    counters = {name for name in held if name.endswith(COUNTER)}
    weights = {name: held[name] for name in sorted(held.keys() - whole - counters)}
    strange = [
        name
        for name in sorted(held.keys() - counters)
        if not _is_plain(held[name]) or held[name].is_floating_point() is (name in whole)
    ]
    if strange:
        raise UsageError(
            f"{found} has other values than floating-point numbers in {_tensors(strange)}."
            if not whole.issuperset(strange)
            else f"{found} has other values than whole numbers in {_tensors(strange)}.",
            "Give a checkpoint that was not quantised.",
        )
    demand_ordinary(str(found), weights)
    negative = [
        name
        for name, tensor in weights.items()
        if name.rpartition(".")[2] == "running_var" and bool((tensor.float() < 0).any())
    ]
    if negative:
        raise UsageError(
            f"{found} has variances below 0 in {_tensors(negative)}.",
            "Give a checkpoint that is not damaged.",
        )


def demand_ordinary(where: str, held: Mapping[str, Tensor]) -> None:
    """Refuse values that no trained network has: NaN, infinity, and what a damaged bit makes.

    Args:
        where: the tensors are from.
        held: tensors by name; those of whole numbers are passed over.

    Raises:
        UsageError: names the tensors.
    """
    largest = {
        name: _largest(tensor)
        for name, tensor in held.items()
        if tensor.is_floating_point() and tensor.numel()
    }
    broken = [name for name, value in largest.items() if not math.isfinite(value)]
    if broken:
        raise UsageError(
            f"{where} has NaN or infinity in {_tensors(broken)}.",
            "Give a checkpoint from before the training diverged.",
        )
    for name in (name for name, value in largest.items() if value > _LARGE):
        value = _absurd(held[name])
        if value is not None:
            raise UsageError(
                f"{where} has the value {value:.3g} in {listed([name])}, which no training makes "
                "beside its others.",
                "It is damaged, as by a flipped bit: fetch or save it again.",
            )


def _largest(tensor: Tensor) -> float:
    """Return the largest magnitude in a tensor; NaN if one is in it."""
    return max(abs(float(end)) for end in tensor.float().aminmax())


def _absurd(tensor: Tensor) -> float | None:
    """Return a value that stands out as one with a flipped bit in its exponent does.

    Values above `_HUGE`, or one above `_LARGE` that is a million times the next. Masks, which hold
    the most negative number, or one large one many times, are none.
    """
    import torch

    values = tensor.float().abs().reshape(-1)
    ends = torch.tensor([torch.finfo(kind).max for kind in (tensor.dtype, torch.float32)])
    values = values[~torch.isin(values, ends)]
    huge = values[values > _HUGE]
    if 0 < len(huge) <= max(1, len(values) // 100) or bool((huge != huge[:1]).any()):
        return float(huge[0])
    if len(values) < 2:
        return None
    first, second = values.topk(2).values
    return float(first) if first > _LARGE and first > 1e6 * second else None


def _tensors(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({listed(names)})"


def _is_plain(tensor: Tensor) -> bool:
    import torch

    is_dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return is_dense and not tensor.is_quantized
