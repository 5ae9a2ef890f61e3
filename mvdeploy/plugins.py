"""The folder is the registry: what can be chosen is the list of files in a room.

A format, an engine, a device link, a pass, a renderer or a model is one file (or one folder) in its
room. Nothing else has to be edited for it to be offered, and only the one asked for is imported.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from mvdeploy.errors import UsageError


class UnknownNameError(UsageError):
    """A name is not among those that can be chosen."""


def names(room: str) -> tuple[str, ...]:
    """Return the names in a room, sorted, without importing any of them.

    Args:
        room: a package, such as ``"mvdeploy.export"``.
    """
    package = importlib.import_module(room)
    found = (info.name for info in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(room: str, name: str, noun: str) -> ModuleType:
    """Import one plug-in of a room.

    Args:
        room: a package, such as ``"mvdeploy.export"``.
        name: one of `names(room)`.
        noun: what the room holds, for the message: ``"format"``.

    Raises:
        UsageError: there is no such name.
    """
    known = names(room)
    if name not in known:
        raise unknown(noun, name, known)
    return importlib.import_module(f"{room}.{name}")


def unknown(noun: str, name: str, known: tuple[str, ...]) -> UnknownNameError:
    """Word the error for a name that is not in a list, with the nearest one as a suggestion."""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return UnknownNameError(
        f"There is no {noun} '{name}'.", f"{guess}Choose one of: {', '.join(known) or 'none'}."
    )
