"""Files of a checkpoint: where and what they are, and reading them without running anything."""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

from mvdeploy import files
from mvdeploy.errors import UsageError
from mvdeploy.files import archives, reading
from mvdeploy.models.checkpoints.entries import entries
from mvdeploy.models.feeding import folder, read_settings
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]

SAFETENSORS = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}.index.json", _PICKLED, f"{_PICKLED}.index.json")
"""What a folder's weights are in, the first that is there, as transformers looks for them."""

_FLOATS = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""What safetensors calls the types of numbers that weights are in."""

_LONGEST_NAME = 120  # of a tensor or an entry, in messages
_LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
"""Near the beginning of files that torch.save wrote before it wrote archives."""

_TENSORS_ALONE = (
    "In the program that wrote it, save the tensors alone: "
    "torch.save(model.state_dict(), 'weights.pt')."
)
_COMPLETE = "Give a complete checkpoint: a .pt, .pth, .bin or .safetensors file, or a folder."


class Seen(NamedTuple):
    """What is known of a tensor before it is read.

    Attributes:
        shape: its sides.
        kind: of its numbers: ``float32``.
    """

    shape: Shape
    kind: str


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a checkpoint.

    Attributes:
        path: as it was given.
        files: those with weights.
        settings: JSON files of a folder that say how the weights are used.
        index: where a folder's weights are in several files: tensor → file name.
    """

    path: Path
    files: tuple[Path, ...]
    settings: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    index: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file, or over the names and sha256 of what is read of a folder, in hexadecimal."""
        if self.files == (self.path,):
            with _reading(self.path):
                return files.sha256(self.path)
        settings = tuple(self.path / name for name in self.settings)
        with _reading(self.path):
            return files.listing(self.path, (*self.files, *settings))


def locate(path: Path) -> Source:
    """Find the files of a checkpoint.

    Args:
        path: a file, or a folder as transformers saves it.

    Raises:
        UsageError: there is none, or a folder is incomplete or malformed.
    """
    with _reading(path):
        if path.is_dir() or not path.exists():
            return _folder(path)
        reading.demand_regular(path, reading.WEIGHTS, "a checkpoint")
        return Source(path, (path,))


def demand_sound(source: Source) -> None:
    """Refuse files that are none of the known kinds, damaged, or hold objects beside tensors.

    Raises:
        UsageError: names the file.
    """
    for file in source.files:
        if _kind(file) == "torch":
            _torch(file)


def _folder(path: Path) -> Source:
    if not path.is_dir():
        raise UsageError(f"There is no checkpoint {path}.", "Check the path.")
    name = next((name for name in _WEIGHTS if (path / name).is_file()), None)
    if name is None:
        raise UsageError(
            f"The folder {path} holds no weights.",
            f"Give a folder with {SAFETENSORS} or {_PICKLED}, or a checkpoint file.",
        )
    settings_files = (file for file in folder.FILES if (path / file).is_file())
    settings = {file: read_settings(path / file) for file in settings_files}
    if not name.endswith(".json"):
        return Source(path, (path / name,), settings)
    index = _index(path / name)
    shards = tuple(path / shard for shard in sorted(set(index.values())))
    gone = [shard.name for shard in shards if not shard.is_file()]
    if gone:
        raise UsageError(f"{path} lacks the weights {', '.join(gone)}.", "Fetch all of its files.")
    return Source(path, shards, settings, index)


def content(source: Source, *, values: bool) -> object:
    """Return what the files hold: of one file all of it, of several the tensors of all of them.

    Args:
        source: the files.
        values: read the tensors of safetensors files; else these are `Seen`, from the header alone
            and without torch. Other files are read as a whole in any case.

    Raises:
        UsageError: a file is damaged or no checkpoint.
    """
    kinds = [_kind(file) for file in source.files]
    header = not values and "torch" not in kinds
    read = [
        _torch(file) if kind == "torch" else _header(file) if header else _safetensors(file)
        for file, kind in zip(source.files, kinds, strict=True)
    ]
    if not source.index:
        return read[0]
    merged = {
        name: held for part in read if isinstance(part, Mapping) for name, held in part.items()
    }
    gone = sorted(source.index.keys() - merged.keys())
    if gone:
        raise UsageError(
            f"{source.path} lacks {len(gone)} of the tensors in its index ({listed(gone)}).",
            "Fetch all of its files again.",
        )
    return merged


def seen(content: object, path: Path) -> dict[str, dict[str, Seen]]:
    """Return what is known of the tensors in every dict of a file, by where it is.

    Raises:
        UsageError: one of them has no shape, such as a nested tensor.
    """
    found = entries(content, Seen)
    if not found and "torch" in sys.modules:  # else nothing here was read with it
        return {
            name: {tensor: _seen(value, tensor, path) for tensor, value in held.items()}
            for name, held in tensors(content).items()
        }
    return found


def tensors(content: object) -> dict[str, dict[str, Tensor]]:
    """Return the tensors in every dict of a file, by where it is."""
    import torch

    return entries(content, torch.Tensor)


def _seen(tensor: Tensor, name: str, path: Path) -> Seen:
    if tensor.is_nested:
        raise UsageError(
            f"{path} holds a nested tensor, which has no shape ({shown(name)}).",
            "Give a checkpoint of plain tensors.",
        )
    return Seen(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def listed(names: list[str], first: int = 3) -> str:
    """Return the first few of some names and how many more there are."""
    more = f" and {len(names) - first} more" if len(names) > first else ""
    return ", ".join(map(shown, names[:first])) + more


def shown(name: str) -> str:
    """Return a name from a file as it is printed: on one line, and not endless."""
    return clean(elide(name, _LONGEST_NAME))


def _kind(file: Path) -> str:
    """Tell a container by its first bytes: suffixes of checkpoints are anything.

    Raises:
        UsageError: it is none.
    """
    with _reading(file):
        reading.demand_regular(file, reading.WEIGHTS, "a checkpoint")
    with _reading(file), file.open("rb") as opened:
        start = opened.read(32)
    if not start:
        raise UsageError(f"{file} is empty.", _COMPLETE)
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(b"\x80") and _LEGACY_MAGIC not in start:
        raise UsageError(
            f"{file} was written by pickle, not by torch.save, and reading it could run any code.",
            _TENSORS_ALONE,
        )
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    if start.startswith(b"version https://"):
        raise UsageError(
            f"{file} is a Git LFS pointer, not the checkpoint itself.",
            "Fetch it with 'git lfs pull'.",
        )
    raise UsageError(f"{file} is no checkpoint.", _COMPLETE)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Word what goes wrong while a file is read."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # readers let out whatever a damaged file makes them run into
        # torch puts advice around its reason, even to read the file without this protection.
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0]
        if "weights_only" in reason:
            reason = ""
        reason = reason.partition(". ")[0].rstrip(". ") or type(error).__name__
        raise UsageError(f"{file} cannot be read as a checkpoint ({reason}).", _COMPLETE) from error


def _header(file: Path) -> dict[str, Seen]:
    from safetensors import safe_open

    with _reading(file), safe_open(file, framework="numpy") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        return {
            name: Seen(tuple(held.get_shape()), _FLOATS.get(held.get_dtype(), held.get_dtype()))
            for name, held in slices.items()
        }


def _safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with _reading(file):
        return load_file(file)


def _torch(file: Path) -> object:
    import torch
    from torch.serialization import safe_globals

    _refuse_program(file)
    with _reading(file), warnings.catch_warnings(), safe_globals(_harmless()):
        warnings.simplefilter("ignore")  # the same is said by the error that follows
        try:
            # An open file: of a path, torch would judge the suffix.
            with file.open("rb") as opened:
                return torch.load(opened, map_location="cpu", weights_only=True)
        except Exception as error:
            match = re.search(r"GLOBAL ([\w.]+)", str(error))
            if match is None:
                raise
            raise UsageError(
                f"{file} is refused: besides tensors it holds an object of {match[1]}, and reading "
                "that could run any code.",
                _TENSORS_ALONE,
            ) from error


_PROGRAMS = {
    "constants.pkl": ("a TorchScript program", "torch.jit.load({!r}).state_dict()"),
    "archive_format": ("an exported program", "torch.export.load({!r}).state_dict"),
    "serialized_exported_program.json": (
        "an exported program",
        "torch.export.load({!r}).state_dict",
    ),
}
"""A file in an archive of torch → the program that it is then, and what gives its tensors."""


def _refuse_program(file: Path) -> None:
    """Refuse an archive that holds a program.

    Raises:
        UsageError: it does; says how its tensors are saved.
    """
    with _reading(file):
        if not zipfile.is_zipfile(file):
            return
        inner = dict.fromkeys(name.rpartition("/")[2] for name in archives.check(file))
    for mark, (kind, state) in _PROGRAMS.items():
        if mark in inner:
            raise UsageError(
                f"{file} is {kind}: code beside tensors, and no checkpoint.",
                "If you trust it, save its tensors and give these: "
                f"torch.save({state.format(file.name)}, 'weights.pt').",
            )
    if "data.pkl" not in inner:
        raise UsageError(
            f"{file} is an archive of {listed([*inner])}, and was not written by torch.save.",
            "Give the checkpoint in it; NumPy's arrays have to be saved as tensors, by torch.save.",
        )


def _harmless() -> list[Any]:
    """Return the classes of plain values that training scripts save beside the tensors.

    timm saves its arguments as a Namespace; metrics are often scalars of numpy, whose module was
    called ``numpy.core`` until numpy 2; hyper-parameters hold paths, which become pure ones.
    """
    import argparse

    import numpy as np
    from numpy._core.multiarray import scalar

    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    dtypes = [type(np.dtype(kind)) for kind in kinds]
    old = (scalar, "numpy.core.multiarray.scalar")
    paths = [
        (pure, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")  # the latter in Python 3.13
        for pure, name in ((PurePosixPath, "PosixPath"), (PureWindowsPath, "WindowsPath"))
    ]
    return [argparse.Namespace, np.dtype, scalar, old, *dtypes, *paths]


def _index(file: Path) -> dict[str, str]:
    index = read_settings(file).get("weight_map")
    again = "Fetch all of its files again."
    if not isinstance(index, dict) or not index:
        raise UsageError(f"{file} does not say which file holds which tensor.", again)
    strange = [name for name in index.values() if not _is_name(name)]
    if strange:
        raise UsageError(f"{file} names no file of its folder, but {strange[0]!r}.", again)
    return index


def _is_name(name: object) -> bool:
    # A path could lead out of the folder.
    return isinstance(name, str) and name not in ("", "..") and Path(name).name == name
