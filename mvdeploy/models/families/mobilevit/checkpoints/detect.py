"""Whose checkpoint it is, and of which variant: told by names and shapes, without torch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

from mvdeploy import plugins
from mvdeploy.models.checkpoints import Found, Shapes, Source, Wanted, find
from mvdeploy.models.families.mobilevit.checkpoints import transformers_files as extras
from mvdeploy.models.families.mobilevit.checkpoints.names import ENCODER, Layout
from mvdeploy.models.feeding import Feed, folder
from mvdeploy.records.spec import WeightsFile

Candidates = Mapping[str, Callable[[int], Shapes]]
"""Networks that a checkpoint may be of: name → number of classes → tensors under our names."""

_LAYOUTS = "mvdeploy.models.families.mobilevit.checkpoints.layouts"
_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a network that is known.

    Attributes:
        found: its tensors.
        layout: their names.
        feed: what it is fed.
        patch_size: of the network it was made with, where it says so.
    """

    found: Found
    layout: Layout
    feed: Feed
    patch_size: int | None

    @property
    def feed_file(self) -> str:
        """The file that says what it is fed; empty where `feed` is just what is usual."""
        return _feed(self.found, self.layout)[1]

    @property
    def weights(self) -> WeightsFile:
        """What a spec says of it."""
        return self.found.weights(self.feed.channel_order, self.feed.images)


def inspect(
    source: Source, candidates: Candidates, model: str | None = None, key: str | None = None
) -> Checkpoint:
    """Find out what a checkpoint is.

    Args:
        source: the checkpoint.
        candidates: networks that it may be of.
        model: the one of them that it has to be of; None for any.
        key: where in the file the weights are, if several fit.

    Raises:
        UsageError: it cannot be read, its layout is unknown, or it is of another network.
    """
    found = find(source, wanted(candidates), model, key)
    layout = load_layout(found.wanted.layout)
    return Checkpoint(found, layout, _feed(found, layout)[0], _patch_size(found, layout))


def wanted(candidates: Candidates) -> list[Wanted]:
    """Return every network in the names of every layout."""
    ours = {model: tuple(shapes(_CLASSES)) for model, shapes in candidates.items()}
    found = []
    for name in layout_names():
        layout = load_layout(name)
        tables = {model: _table(name, tensors) for model, tensors in ours.items()}
        found += [
            Wanted(
                layout=name,
                model=model,
                usual=_CLASSES,
                names=table,
                shapes=candidates[model],
                heads=layout.heads,
            )
            for model, table in tables.items()
            if table is not None
        ]
    return found


@functools.cache
def _table(layout: str, ours: tuple[str, ...]) -> dict[str, tuple[str, ...]] | None:
    return load_layout(layout).table(ours)


def layout_names() -> tuple[str, ...]:
    """Return the layouts that checkpoints are read and written in."""
    return plugins.names(_LAYOUTS)


def load_layout(name: str) -> Layout:
    """Return a layout by its name.

    Raises:
        UsageError: there is no such layout.
    """
    layout: Layout = plugins.load(_LAYOUTS, name, "layout").LAYOUT
    return layout


def _patch_size(found: Found, layout: Layout) -> int | None:
    """Return the patch size that a network was made with, where its folder says so.

    Raises:
        UsageError: the folder is of another network.
    """
    source = found.source
    config = source.settings.get(folder.CONFIG)
    if config is None or not layout.has_settings:
        return None
    extras.check_config(config, source.path, segments=_has_head(found))
    return extras.patch_size(config, source.path)


def _feed(found: Found, layout: Layout) -> tuple[Feed, str]:
    """Return what a checkpoint is fed, and the name of the file that says so, if any does."""
    said = folder.said(found.source.settings, found.source.path, kind="MobileViT")
    if said is not None:
        return said
    images = layout.images_of_heads if _has_head(found) else None
    return Feed(layout.channel_order, images or layout.images), ""


def _has_head(found: Found) -> bool:
    """Say whether a network is an encoder with a head, and no classifier."""
    return any(name.startswith(ENCODER) for name in found.wanted.names)
