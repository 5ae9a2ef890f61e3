"""Whose checkpoint it is, and of which variant: told by names and shapes, without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit.checkpoints import files
from mvdeploy.models.families.mobilevit.checkpoints import transformers_files as extras
from mvdeploy.models.families.mobilevit.checkpoints.files import Shape, Source, listed
from mvdeploy.models.families.mobilevit.checkpoints.names import Form, Layout
from mvdeploy.models.feeding import Feed, folder
from mvdeploy.records.spec import WeightsFile

V = TypeVar("V")

Shapes = Mapping[str, Shape]
"""Shapes of tensors by name."""

Candidates = Mapping[str, Callable[[int], Shapes]]
"""Networks that a checkpoint may be of: name → number of classes → tensors under our names."""

_LAYOUTS = "mvdeploy.models.families.mobilevit.checkpoints.layouts"
_PLAIN = Form("", "", "")
_CLASSIFIER = ("classifier.fc.weight", "classifier.fc.bias")
_COUNTER = "num_batches_tracked"  # plays no part in inference; old checkpoints lack it


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose layout is known.

    Attributes:
        source: its files.
        layout_name: name of the layout.
        layout: its names.
        form: in which form of them it is.
        shapes: of its tensors, under the layout's plain names.
        entry: of the file's dict that was taken; empty for all of it.
        feed: what it is fed.
        patch_size: of the network it was made with, where it says so.
    """

    source: Source
    layout_name: str
    layout: Layout
    form: Form
    shapes: Mapping[str, Shape]
    entry: str
    feed: Feed
    patch_size: int | None

    def __str__(self) -> str:
        entry = f", entry '{self.entry}'" if self.entry else ""
        return f"{self.source.path} (layout {self.layout_name}{entry})"

    @property
    def num_classes(self) -> int:
        """Outputs of its classifier.

        Raises:
            UsageError: it has none.
        """
        weight, bias = (self.layout.theirs(name)[0] for name in _CLASSIFIER)
        if weight not in self.shapes and bias not in self.shapes:
            raise UsageError(
                f"{self} is {self._without_classifier()}: it has no {weight}, so it cannot "
                "classify.",
                "Give a checkpoint that was trained for classification.",
            )
        rows = self.shapes.get(weight, self.shapes.get(bias, ()))[:1]
        return rows[0] if rows else 0

    @property
    def feed_file(self) -> str:
        """The file that says what it is fed; empty where `feed` is just what is usual."""
        return _feed(self.source, self.layout)[1]

    def plain(self, held: Mapping[str, V]) -> dict[str, V]:
        """Bring names that a file has into the layout's plain form."""
        return plain(held, self.form)

    @property
    def weights(self) -> WeightsFile:
        """What a spec says of it."""
        return WeightsFile(
            path=str(self.source.path),
            sha256=self.source.sha256,
            layout=self.layout_name,
            channel_order=self.feed.channel_order,
            images=self.feed.images,
        )

    def _without_classifier(self) -> str:
        for prefix, meaning in self.layout.heads:
            if any(name.startswith(prefix) for name in self.shapes):
                return f"a checkpoint of {meaning}"
        return self.form.meaning or "a network without its classifier"


@dataclasses.dataclass(frozen=True)
class Fit:
    """How the tensors of a checkpoint agree with those of a network, under the layout's names."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def perfect(self) -> bool:
        """Nothing differs."""
        return not (self.missing or self.unexpected or self.reshaped)

    @property
    def text(self) -> str:
        """Name the first few of each kind, and say how many there are."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected}
        parts = [f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds.items() if names]
        if self.reshaped:
            parts.append(f"{len(self.reshaped)} of another shape ({listed(self.reshaped)})")
        return ", ".join(parts)


def inspect(path: Path, candidates: Candidates) -> Checkpoint:
    """Find out what a checkpoint is.

    Raises:
        UsageError: it cannot be read, or its layout is unknown.
    """
    source = files.locate(path)
    shapes, entry = files.shapes(source)
    names = {ours for tensors in candidates.values() for ours in tensors(1)}
    chosen, form = _layout(shapes, names)
    if chosen is None:
        raise UsageError(
            f"{path} has none of the known layouts: its {len(shapes)} tensors are named "
            f"{listed(sorted(shapes)) or 'nothing'}.",
            f"Give a MobileViT checkpoint of {', '.join(layout_names())}.",
        )
    layout = load_layout(chosen)
    feed, patch_size = _feed(source, layout)[0], _patch_size(source, layout)
    return Checkpoint(source, chosen, layout, form, plain(shapes, form), entry, feed, patch_size)


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


def demand(checkpoint: Checkpoint, model: str, candidates: Candidates) -> None:
    """Refuse a checkpoint that is not one of `model`.

    Raises:
        UsageError: tensors are missing, unexpected or of another shape; says which variant it
            looks like.
    """
    classes = checkpoint.num_classes
    fits = {name: fit(checkpoint, tensors(classes)) for name, tensors in candidates.items()}
    if fits[model].perfect:
        return
    near = min(fits, key=lambda name: (len(fits[name].reshaped), name != model))
    if near == model:
        raise UsageError(
            f"{checkpoint} does not fit {model}: {fits[model].text}.",
            "Give a complete checkpoint of the published architecture.",
        )
    is_like = "is" if fits[near].perfect else "looks like"
    raise UsageError(
        f"{checkpoint} {is_like} a checkpoint of {near}, not of {model}: {fits[model].text}.",
        f"Give the model {near}, or a checkpoint of {model}.",
    )


def variant(checkpoint: Checkpoint, candidates: Candidates) -> str:
    """Return which network a checkpoint is of.

    Raises:
        UsageError: it fits none.
    """
    classes = checkpoint.num_classes
    near = min(candidates, key=lambda n: len(fit(checkpoint, candidates[n](classes)).reshaped))
    demand(checkpoint, near, candidates)
    return near


def fit(checkpoint: Checkpoint, tensors: Mapping[str, Shape]) -> Fit:
    """Compare a checkpoint with the tensors of a network under our names."""
    actual, expected = checkpoint.shapes, theirs(checkpoint.layout, tensors)
    missing = expected.keys() - actual.keys()
    differ = (name for name in expected.keys() & actual.keys() if expected[name] != actual[name])
    return Fit(
        missing=sorted(name for name in missing if not name.endswith(_COUNTER)),
        unexpected=sorted(actual.keys() - expected.keys()),
        reshaped=[
            f"{name}: {_text(actual[name])} for {_text(expected[name])}" for name in sorted(differ)
        ],
    )


def theirs(layout: Layout, tensors: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return what tensors under our names are in a layout."""
    shapes: dict[str, Shape] = {}
    for ours, shape in tensors.items():
        parts = layout.theirs(ours)
        part = (shape[0] // len(parts), *shape[1:]) if len(parts) > 1 else shape
        shapes |= dict.fromkeys(parts, part)
    return shapes


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"


def plain(held: Mapping[str, V], form: Form) -> dict[str, V]:
    """Bring names into a layout's plain form; others stay as they are."""
    if form == _PLAIN:
        return dict(held)
    return {
        form.plain + name.removeprefix(form.prefix) if name.startswith(form.prefix) else name: value
        for name, value in held.items()
    }


def _layout(names: Collection[str], ours: Collection[str]) -> tuple[str | None, Form]:
    """Return the layout, and its form, that knows most names; None if not even half of them."""
    best, chosen, chosen_form = 0, None, _PLAIN
    for name in layout_names():
        layout = load_layout(name)
        their_names = {theirs for parts in layout.table(ours).values() for theirs in parts}
        for form in (_PLAIN, *layout.forms):
            count = len(their_names & plain(dict.fromkeys(names), form).keys())
            if count > best and 2 * count >= len(names):
                best, chosen, chosen_form = count, name, form
    return chosen, chosen_form


def _patch_size(source: Source, layout: Layout) -> int | None:
    """Return the patch size that a network was made with, where its folder says so.

    Raises:
        UsageError: the folder is of another network.
    """
    config = source.settings.get(folder.CONFIG)
    if config is None or not layout.has_settings:
        return None
    extras.check_config(config, source.path)
    return extras.patch_size(config, source.path)


def _feed(source: Source, layout: Layout) -> tuple[Feed, str]:
    """Return what a checkpoint is fed, and the name of the file that says so, if any does."""
    found = folder.said(source.settings, source.path, kind="MobileViT")
    if found is not None:
        return found
    return Feed(layout.channel_order, layout.images), ""
