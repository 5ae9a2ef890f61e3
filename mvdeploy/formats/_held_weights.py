"""Whether a file holds the weights of the network that it was made of, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mvdeploy import precisions

if TYPE_CHECKING:
    from torch import Tensor, nn

    Stored = Callable[[Tensor, int], Tensor]

UNNAMED = "a constant of its operators"
"""What differs and is no weight of the network as it stands there."""


def missing(
    network: nn.Module, held: frozenset[str], stored: Stored, whole: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Return the names of those weights of a network that a file does not hold, in any layout.

    A weight that the exporter changed is among them, as one that was folded into another.

    Args:
        network: what was exported.
        held: sha256 of the constant tensors of the file.
        stored: a weight and the axis of its output channels → the same as programs of the file's
            precision hold it.
        whole: weights that the file holds in whole numbers, by name.
    """
    axes = precisions.channel_axes(network)
    return tuple(
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
        and tensor.numel() > 1
        and not any(
            _sha256(form) in held
            for form in _layouts(
                whole[name] if name in whole else stored(tensor.detach(), axes.get(name, 0))
            )
        )
    )


def differing(
    network: nn.Module,
    own: frozenset[str],
    others: frozenset[str],
    stored: Stored,
    whole: Mapping[str, Tensor],
) -> tuple[str, ...]:
    """Return what one file holds otherwise than another: by its name in the network, if it has one.

    Args:
        network: that both were made of.
        own: sha256 of the constant tensors of the one.
        others: and of the other.
        stored: see `missing`.
        whole: see `missing`.
    """
    if own >= others:
        return ()
    return tuple(
        sorted(
            set(missing(network, own, stored, whole)) - set(missing(network, others, stored, whole))
        )
    ) or (UNNAMED,)


def _layouts(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a weight as files lay it out: of convolutions, the channels last."""
    yield tensor
    if tensor.dim() == 4:
        yield tensor.permute(0, 2, 3, 1)
        yield tensor.permute(1, 2, 3, 0)  # of depthwise ones
    if tensor.dim() == 2:
        yield tensor.T


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
