"""Checkpoint → the same tensors under another library's names."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.models import Converted
from mvdeploy.models import checkpoints as room
from mvdeploy.models.checkpoints import Shapes, Source, files
from mvdeploy.models.families.mobilevit.checkpoints import detect
from mvdeploy.models.families.mobilevit.checkpoints import transformers_files as extras
from mvdeploy.models.families.mobilevit.checkpoints.detect import Candidates, Checkpoint
from mvdeploy.models.families.mobilevit.checkpoints.names import Layout
from mvdeploy.models.feeding import image_processors
from mvdeploy.models.feeding.folder import CONFIG

if TYPE_CHECKING:
    from torch import Tensor

_PICKLED = (".pt", ".pth")
_SAFE = ".safetensors"


def convert(
    source: Path,
    layout_name: str,
    target: Path,
    candidates: Candidates,
    channel_order: str | None = None,
    key: str | None = None,
) -> Converted:
    """Write a checkpoint in another layout; values stay as they are, bit by bit.

    Args:
        source: a checkpoint that can be loaded.
        layout_name: one of `detect.layout_names`.
        target: a file, its format by its suffix; for a layout that has settings also a folder.
        candidates: networks that the checkpoint may be of.
        channel_order: what it is fed, if not what its layout's are.
        key: where in the file the weights are, if several fit.

    Raises:
        UsageError: the checkpoint cannot be used, or the target not written.
    """
    layout = detect.load_layout(layout_name)
    located = room.locate(source)
    with _writing(target):
        _check_target(target, layout_name, layout, located)
    checkpoint = detect.inspect(located, candidates, key=key)
    found = checkpoint.found
    ours = candidates[found.wanted.model](found.classes)
    renamed = _renamed(room.tensors(found), layout)
    order = channel_order or checkpoint.feed.channel_order
    with _writing(target):
        if target.suffix in (*_PICKLED, _SAFE):
            with writing.whole(target, remedy=_REMEDY) as part:
                _write(renamed, part)
        else:
            _write_folder(renamed, _settings(checkpoint, ours, order), target)
    plain_order = order if target.is_dir() else layout.channel_order
    return Converted(
        source=source,
        source_layout=found.wanted.layout,
        entry=found.copy.key,
        path=target,
        layout=layout_name,
        model=found.wanted.model,
        num_classes=found.classes,
        tensors=len(renamed),
        channel_order=order,
        plain_order=plain_order,
        known_from=_known_from(checkpoint, channel_order),
        notes=found.notes,
    )


def _known_from(checkpoint: Checkpoint, asked: str | None) -> str:
    """Say where the channel order is known from: the tensors do not tell."""
    if asked is not None:
        return "as --channel-order says"
    if checkpoint.feed_file:
        return f"as {checkpoint.feed_file} says"
    usual = f"as is usual in the layout {checkpoint.found.wanted.layout}"
    return f"{usual} (--channel-order says otherwise)"


_REMEDY = "Make room there, or give another place with -o."


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Word what goes wrong while a file is written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError
        reason = str(error).partition("\n")[0].rstrip(".")
        refusal = error if isinstance(error, OSError) else writing.cause(error)
        raise writing.refused(refusal or OSError(reason), target, _REMEDY) from error


def _check_target(target: Path, layout_name: str, layout: Layout, source: Source) -> None:
    """Refuse what would overwrite the input or has no format, before anything is read."""
    inputs = {path.resolve() for path in (source.path, *source.files)}
    places = {target.resolve(), *target.resolve().parents} if source.path.is_dir() else set()
    same = target.exists() and any(target.samefile(path) for path in inputs)
    if same or places & inputs:
        raise UsageError(
            f"{target} is the checkpoint that is read, or lies in it.",
            "Give another place with -o.",
        )
    if target.suffix in (*_PICKLED, _SAFE):
        if target.is_dir():
            raise UsageError(f"{target} is a folder.", "Give a file name with -o.")
        return
    if target.suffix or not layout.has_settings:
        folder = " or a folder's name" if layout.has_settings else ""
        raise UsageError(
            f"{target} does not end in .pt, .pth or .safetensors, which a checkpoint in the "
            f"layout {layout_name} is written as.",
            f"Give such a file{folder} with -o.",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target} exists and is no empty folder.", "Give a new folder's name with -o."
        )


def _renamed(ours: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        parts = layout.theirs(name)
        pieces = tensor.chunk(len(parts)) if len(parts) > 1 else (tensor,)
        # Files keep whole storages: a piece takes a storage of its own.
        renamed |= {part: piece.clone() for part, piece in zip(parts, pieces, strict=True)}
    return renamed


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    if path.suffix == _SAFE:
        from safetensors.torch import save

        dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
        writing.fill(path, save(dense, metadata={"format": "pt"}))
    else:
        import torch

        # Not straight into the file: on a full disk torch's own writer ends the process.
        written = io.BytesIO()
        torch.save(tensors, written)
        writing.fill(path, written.getbuffer())


def _settings(
    checkpoint: Checkpoint, ours: Shapes, channel_order: str
) -> dict[str, dict[str, Any]]:
    """Return the JSON files of a folder: those of the source where it has them."""
    own = checkpoint.found.source.settings if checkpoint.layout.has_settings else {}
    feed = dataclasses.replace(checkpoint.feed, channel_order=channel_order)
    kept = own.get(image_processors.FILE)
    if kept is not None and image_processors.flips(kept):
        processor = {**kept, "do_flip_channel_order": channel_order == "BGR"}
    elif kept is not None and feed == checkpoint.feed:
        processor = kept
    else:
        processor = image_processors.write(feed)
    return {
        CONFIG: own.get(CONFIG) or extras.write_config(ours),
        image_processors.FILE: processor,
    }


def _write_folder(
    tensors: dict[str, Tensor], settings: dict[str, dict[str, Any]], folder: Path
) -> None:
    """Write a folder as transformers does, all of it or none."""
    with writing.whole(folder, remedy=_REMEDY) as part:
        part.mkdir()
        _write(tensors, part / files.SAFETENSORS)
        for name, content in settings.items():
            writing.fill(part / name, f"{json.dumps(content, indent=2)}\n".encode())
