"""Networks whose checkpoints have the names that the network itself has, or its library."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.models.checkpoints import choosing, files, reading
from mvdeploy.models.checkpoints.fitting import Shapes, Wanted
from mvdeploy.models.feeding import Feed, folder
from mvdeploy.records import ImageRule, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.records import WeightsFile


Saved = Callable[["nn.Module"], Mapping[str, str]]
"""Network → names of tensors → those under which its library saves them, if these are others."""


def checkpoint(
    spec: ModelSpec,
    path: Path,
    num_classes: int | None,
    image_size: tuple[int, int] | None,
    key: str | None,
    build: Callable[[ModelSpec], nn.Module],
    saved: Saved | None = None,
) -> ModelSpec:
    """Return a network's spec with what its checkpoint says.

    Args:
        spec: of the network.
        path: a file, or a folder, which may say what the network is fed.
        num_classes: what is asked for; None for as many as it has.
        image_size: what is asked for; None for that of the folder or the network.
        key: where in the file the weights are, if several fit.
        build: makes the network, without weights that matter.
        saved: names that its library saves it with.

    Raises:
        UsageError: the checkpoint is damaged, or of another network or number of classes.
    """
    source = files.locate(path)
    said = folder.said(source.settings, path)
    feed = said[0] if said is not None else Feed("", ImageRule())
    # Shapes may depend on the image: of an embedding for each position, say.
    spec = dataclasses.replace(spec, image_size=image_size or feed.image_size or spec.image_size)

    def sized(classes: int) -> nn.Module:
        return build(dataclasses.replace(spec, num_classes=classes))

    found = choosing.find(source, _wanted(spec.model, spec.num_classes, sized, saved), key=key)
    found.check_classes(num_classes)
    weights = found.weights(feed.channel_order, feed.images)
    return dataclasses.replace(spec, num_classes=found.classes, weights=weights)


def load(network: nn.Module, weights: WeightsFile, model: str, saved: Saved | None = None) -> None:
    """Give a network the weights of a checkpoint: all of them, or an error and none.

    Raises:
        UsageError: the checkpoint is gone, has changed or does not fit.
    """
    wanted = _wanted(model, 0, lambda _: network, saved)
    reading.load(network, choosing.find(reading.reopen(weights), wanted, key=weights.key))


def _wanted(
    model: str, classes: int, build: Callable[[int], nn.Module], saved: Saved | None
) -> list[Wanted]:
    """Return a network by its own names, by those without what is around it, and as saved.

    A module around the network, such as one that returns the logits alone, is not in checkpoints.
    """
    network = build(2)
    own = {name: name for name in _shapes(network)}
    if not own:
        raise UsageError(
            f"{model} has no weights that a checkpoint could hold.", "Leave out --weights."
        )
    tables = [own]
    while (inner := _inner(tables[-1])) is not None:
        tables.append(inner)
    if saved is not None and (named := saved(network)):
        tables.append({**tables[-1], **named})
    shapes = functools.cache(lambda classes: _shapes(build(classes)))
    return [
        Wanted("", model, classes, {name: (theirs,) for name, theirs in table.items()}, shapes)
        for table in tables
    ]


def _inner(names: Mapping[str, str]) -> dict[str, str] | None:
    """Return names without the module that is around all of them; None if there is none."""
    around = {theirs.partition(".")[0] for theirs in names.values()}
    inner = {name: theirs.partition(".")[2] for name, theirs in names.items()}
    # A single layer is no wrapper: its tensors alone would be found in any network.
    return inner if len(around) == 1 and all("." in theirs for theirs in inner.values()) else None


def _shapes(network: nn.Module) -> Shapes:
    import torch

    return {
        name: tuple(held.shape)
        for name, held in network.state_dict().items()
        if isinstance(held, torch.Tensor)  # not a module's own extra state
    }
