"""Checkpoint → tensors under our names → network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit.checkpoints import detect, files
from mvdeploy.models.families.mobilevit.checkpoints.detect import Candidates, Checkpoint
from mvdeploy.models.families.mobilevit.checkpoints.files import listed
from mvdeploy.records.spec import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

_COUNTER = "num_batches_tracked"


def load(network: nn.Module, weights: WeightsFile, model: str, candidates: Candidates) -> None:
    """Give a network the weights of a checkpoint: all of them, or an error and none.

    Args:
        network: takes them in place.
        weights: the checkpoint as it was when the spec was made.
        model: name of the network.
        candidates: networks that the checkpoint may be of.

    Raises:
        UsageError: the file is gone, changed, or does not fit.
    """
    path = Path(weights.path)
    if files.locate(path).sha256 != weights.sha256:
        raise UsageError(
            f"{path} is not the checkpoint it was (its sha256 differs).",
            "Run the command again with the checkpoint that is meant.",
        )
    checkpoint = detect.inspect(path, candidates)
    detect.demand(checkpoint, model, candidates)
    held = network.state_dict()
    read = tensors(checkpoint, held)
    # Counters that old checkpoints lack are 0, whatever the network was given before.
    zeros = {name: held[name].new_zeros(()) for name in held.keys() - read.keys()}
    network.load_state_dict(read | zeros)


def tensors(checkpoint: Checkpoint, ours: Mapping[str, object]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint that fits, under our names.

    Args:
        checkpoint: `detect.demand` has passed.
        ours: names of the network's tensors; counters that the checkpoint lacks are left out.

    Raises:
        UsageError: a tensor is of a type that is no weight's, or holds NaN or infinity.
    """
    import torch

    held, _ = files.tensors(checkpoint.source)
    theirs = checkpoint.plain(held)
    _check_values(checkpoint, theirs)
    renamed = {}
    for name, parts in checkpoint.layout.table(ours).items():
        if parts[0] in theirs:
            stacked = [theirs[part] for part in parts]
            renamed[name] = stacked[0] if len(stacked) == 1 else torch.cat(stacked)
    return renamed


def _check_values(checkpoint: Checkpoint, held: Mapping[str, Tensor]) -> None:
    weights = {name: held[name] for name in sorted(held) if not name.endswith(_COUNTER)}
    strange = [name for name, tensor in weights.items() if not _is_plain(tensor)]
    if strange:
        raise UsageError(
            f"{checkpoint} has other values than floating-point numbers in {_tensors(strange)}.",
            "Give a checkpoint that was not quantised.",
        )
    broken = [name for name, tensor in weights.items() if not tensor.float().isfinite().all()]
    if broken:
        raise UsageError(
            f"{checkpoint} has NaN or infinity in {_tensors(broken)}.",
            "Give a checkpoint from before the training diverged.",
        )


def _tensors(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({listed(names)})"


def _is_plain(tensor: Tensor) -> bool:
    import torch

    is_dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return is_dense and tensor.is_floating_point() and not tensor.is_quantized
