"""The folder is the registry: what can be chosen is the list of files in a room.

A format, an engine, a device link, a pass, a renderer or a model is one file (or one folder) in its
room. Nothing else has to be edited for it to be offered, and only the one asked for is imported.
What can be chosen about it is declared in its file, as `Option`.

Plug-ins of a user's own lie in a folder that the environment names, in folders named as the rooms
are: ``engines/NAME.py``, ``formats/NAME.py``, ``report/renderers/NAME.py``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from mvdeploy.errors import UsageError, reason

if TYPE_CHECKING:
    from pathlib import Path


# Not a dataclass: it is imported for every help text.
class Option(NamedTuple):
    """Something that can be chosen about a format, an engine or a link; its file declares it.

    Attributes:
        name: under which its owner is given the value.
        flag: on the command line, such as ``--opset``.
        help: what it means, with its default, in one sentence.
        metavar: what stands for its value; empty for a switch.
        choices: values that it may have; empty for any.
        variable: of the environment, which is looked at when the flag is not given; empty for none.
        read: turns what was typed into the value, or raises a `UsageError`.
    """

    name: str
    flag: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    variable: str = ""
    read: Callable[[str], Any] = str

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, without a value."""
        return not self.metavar and not self.choices


FOLDER = "MVDEPLOY_PLUGINS"
"""Environment: folders with plug-ins of one's own, separated as those of ``PATH``."""


class UnknownNameError(UsageError):
    """A name is not among those that can be chosen."""


def whole_number(text: str) -> int:
    """Read the value of an option that is a whole number.

    Raises:
        UsageError: it is none.
    """
    if not text.strip().lstrip("-").isdigit():
        raise UsageError(f"'{text}' is no whole number.", "Give a number such as 18.")
    return int(text)


def names(room: str) -> tuple[str, ...]:
    """Return the names in a room, sorted, without importing any of them.

    Args:
        room: a package, such as ``"mvdeploy.formats"``.
    """
    modules = (info.name for info in pkgutil.iter_modules(_room(room).__path__))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def _room(room: str) -> ModuleType:
    """Return the package of a room, which also looks into the user's own folders."""
    package = importlib.import_module(room)
    for own in _own_folders(room):
        if own.is_dir() and str(own) not in package.__path__:
            package.__path__.append(str(own))
    return package


def folders(room: str) -> tuple[Path, ...]:
    """Return the folders of a room whose plug-ins are data: the package's own, then the user's."""
    from pathlib import Path

    package = Path(importlib.import_module(room).__path__[0])
    return (package, *(own for own in _own_folders(room) if own.is_dir()))


def _own_folders(room: str) -> Iterator[Path]:
    texts = [text for text in os.environ.get(FOLDER, "").split(os.pathsep) if text]
    if not texts:
        return
    from pathlib import Path

    for text in texts:
        folder = Path(text).absolute()
        if not folder.is_dir():
            raise UsageError(
                f"There is no folder {text} for plug-ins.", f"Correct {FOLDER}, or unset it."
            )
        yield folder.joinpath(*room.split(".")[1:])


def load(room: str, name: str, noun: str) -> ModuleType:
    """Import one plug-in of a room.

    Args:
        room: a package, such as ``"mvdeploy.formats"``.
        name: one of `names(room)`.
        noun: what the room holds, for the message: ``"format"``.

    Raises:
        UsageError: there is no such name; or a user's own plug-in cannot be imported, or lacks what
            the room says that its plug-ins have (``REQUIRED``).
    """
    known = names(room)
    if name not in known:
        raise unknown(noun, name, known)
    own = _own_file(room, name)
    if own is None:
        return importlib.import_module(f"{room}.{name}")
    try:
        module = importlib.import_module(f"{room}.{name}")
    except Exception as error:
        raise UsageError(
            f"The plug-in {own} cannot be used ({reason(error, named=True)}).",
            f"Correct it, or take its folder out of {FOLDER}.",
        ) from error
    for required in getattr(sys.modules[room], "REQUIRED", ()):
        if not hasattr(module, required):
            raise UsageError(
                f"The plug-in {own} has no '{required}'.",
                f"Add it: the docstring of {room} says what it is.",
            )
    return module


def _own_file(room: str, name: str) -> Path | None:
    """Return where a plug-in of the user's own lies; None for one of the package."""
    for folder in _own_folders(room):
        for path in (folder / f"{name}.py", folder / name):
            if path.exists():
                return path
    return None


def unknown(noun: str, name: str, known: tuple[str, ...]) -> UnknownNameError:
    """Word the error for a name that is not in a list, with the nearest one as a suggestion."""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return UnknownNameError(
        f"There is no {noun} '{name}'.", f"{guess}Choose one of: {', '.join(known) or 'none'}."
    )
