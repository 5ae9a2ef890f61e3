"""Run a Python file of the user's as Python would, and leave the process as it was.

The folder of the file is where modules are looked for first, and of a file in a package also the
folder around the package; under ``if __name__ == "__main__"`` nothing runs. The random generators
start from a fixed state, so that a network that nobody seeded is the same each time.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.models.zoo import _torchvision

T = TypeVar("T")

_SEED = 0
_modules: dict[Path, dict[str, ModuleType]] = {}
"""Modules from the folder of each file that was run, by their names."""


@functools.cache
def load(path: Path) -> ModuleType:
    """Import a file, once.

    Args:
        path: absolute.

    Raises:
        UsageError: it is not there, ends the program or fails.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", "Give FILE.py:FACTORY with a path that is.")
    return run(path, path.name, lambda: _import(path))


def run(path: Path, what: str, call: Callable[[], T]) -> T:
    """Return what a part of a file returns.

    Args:
        path: of the file, absolute.
        what: is called, for the message.
        call: calls it.

    Raises:
        UsageError: it failed, or wanted to end the program.
    """
    said = io.StringIO()
    try:
        with _unchanged(path), _importable(path), _heard(said):
            result = call()
    except (MvdeployError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise UsageError(
            f"{what} ends the program{_reason(_last_words(error, said))}.",
            'Keep what it does as a program under if __name__ == "__main__".',
        ) from error
    except BaseException as error:
        raise UsageError(
            f"{what} failed{_place(error, path)}: {type(error).__name__}{_reason(str(error))}.",
            "Mend it; --debug shows where.",
        ) from error
    sys.stderr.write(said.getvalue())
    return result


def _import(path: Path) -> ModuleType:
    _, name = _in_package(path)
    if name is not None:
        module = importlib.import_module(name)
        if Path(str(module.__file__)).resolve() != path.resolve():
            raise ImportError(f"the package {name.partition('.')[0]} is already {module.__file__}")
        return module
    # Under its own name, as siblings may import it; but not where that is another module's.
    own = path.stem.isidentifier() and path.stem not in sys.modules and not _exists_beside(path)
    spec = importlib.util.spec_from_file_location(
        path.stem if own else f"mvdeploy_factory_{path.stem}", path
    )
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _exists_beside(path: Path) -> bool:
    """Whether a module of the file's name is found elsewhere too."""
    others = [place for place in sys.path if Path(place).absolute() != path.parent]
    found = importlib.machinery.PathFinder.find_spec(path.stem, others)
    return found is not None or path.stem in sys.builtin_module_names


def _in_package(path: Path) -> tuple[Path, str | None]:
    """Return the folder around the packages that a file is in, and its name there, if it has one.

    Returns:
        For ``/a/models/net.py`` with ``/a/models/__init__.py``: ``/a`` and ``models.net``.
    """
    parts = [] if path.stem == "__init__" else [path.stem]
    root = path.parent
    while (root / "__init__.py").is_file() and root != root.parent:
        parts.insert(0, root.name)
        root = root.parent
    named = root != path.parent and all(part.isidentifier() for part in parts)
    return root, ".".join(parts) if named else None


@contextlib.contextmanager
def _importable(path: Path) -> Iterator[None]:
    """Look for modules in the folder of a file first; of other files' folders, forget theirs.

    Afterwards the folders are looked into last, for what is imported when the network runs, so that
    nothing in them hides a library.
    """
    _torchvision.provide()
    folders = [str(place) for place in dict.fromkeys((path.parent, _in_package(path)[0]))]
    for folder, modules in _modules.items():
        if folder != path.parent:
            for name, module in modules.items():
                if sys.modules.get(name) is module:
                    del sys.modules[name]
    sys.modules.update(_modules.get(path.parent, {}))
    before = set(sys.modules)
    before_path = [place for place in sys.path if place not in folders]
    sys.path[:] = folders + before_path
    importlib.invalidate_caches()
    try:
        yield
    finally:
        own = _modules.setdefault(path.parent, {})
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and _is_of(Path(file), folders):
                own[name] = sys.modules[name]
        added = [place for place in sys.path if place not in {*folders, *before_path}]
        sys.path[:] = added + before_path + folders


def _is_of(file: Path, folders: list[str]) -> bool:
    """Whether a module's file is the user's, and not a library's of an environment in there."""
    return any(file.is_relative_to(folder) for folder in folders) and not any(
        part in ("site-packages", "dist-packages") for part in file.parts
    )


@contextlib.contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Restore what a file may set for itself."""
    import numpy as np
    import torch

    folder, arguments = Path.cwd(), sys.argv
    generators = random.getstate(), np.random.get_state()
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    sys.argv = [str(path)]
    with torch.random.fork_rng(devices=()):
        random.seed(_SEED)
        np.random.seed(_SEED)
        torch.manual_seed(_SEED)
        try:
            yield
        finally:
            os.chdir(folder)
            sys.argv = arguments
            random.setstate(generators[0])
            np.random.set_state(generators[1])
            torch.set_default_dtype(dtype)
            torch.set_default_device(device if device.type != "cpu" else None)
            torch.set_num_threads(threads)
            torch.set_grad_enabled(gradients)
            torch.use_deterministic_algorithms(deterministic)


@contextlib.contextmanager
def _heard(said: io.StringIO) -> Iterator[None]:
    """Keep what a file prints, which has no place in a result that is printed."""
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield


def _last_words(error: SystemExit, said: io.StringIO) -> str:
    """Return what a program said before it ended."""
    if isinstance(error.code, str):
        return error.code
    lines = [line for line in said.getvalue().splitlines() if line.strip()]
    return lines[-1] if lines else f"exit {error.code or 0}"


def _reason(text: str) -> str:
    lines = text.strip().splitlines()
    return f": {lines[0].rstrip('.')}" if lines else ""


def _place(error: BaseException, path: Path) -> str:
    """Return which line of the file, or of one beside it, failed."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    folders = [str(_in_package(path)[0])]
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if _is_of(Path(frame.filename), folders):
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""
