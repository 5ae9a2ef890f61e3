"""Networks of other origins: one file for each, under the prefix that names it.

======================  =====================================================================
``timm:NAME``           a network of timm, with its own input size and preprocessing
``hf:TYPE``             an image classifier of transformers, by model type or local folder
``FILE.py:FACTORY``     what a function in a Python file returns
======================  =====================================================================

A file here has what a family has (see `mvdeploy.models`), but may import what it needs once it is
asked, and besides:

``PREFIX``
    what stands before the colon; a ``*`` in it stands for anything.
``USAGE``
    how a network of it is named.
``has_weights(spec)``
    whether the network comes with its weights.

Their classes declare no category; `mvdeploy.models.zoo.categories` knows the usual ones by name.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from types import ModuleType

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec


def find(name: str) -> ModuleType | None:
    """Return the file that builds a name with a prefix; None for a name without one.

    Raises:
        UsageError: there is no such prefix.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return None
    for kind in _kinds() if rest else ():
        if fnmatch.fnmatchcase(prefix, kind.PREFIX):
            return kind
    raise UsageError(f"'{name}' names no model.", f"Give {', '.join(usages())}, or a plain name.")


def usages() -> tuple[str, ...]:
    """Return how networks of other origins are named."""
    return tuple(kind.USAGE for kind in _kinds())


def _kinds() -> Iterator[ModuleType]:
    kinds = (plugins.load(__name__, name, "kind of model") for name in plugins.names(__name__))
    return (kind for kind in kinds if hasattr(kind, "PREFIX"))


def without_patches(spec: ModelSpec) -> None:
    """Refuse patch sizes for a network that has none to choose.

    Raises:
        UsageError: there are some.
    """
    if spec.patches:
        raise UsageError(f"{spec.model} has no patch sizes to choose.", "Leave out --patches.")


def missing(package: str, error: ImportError) -> UsageError:
    """Word the error for a library that is not there."""
    return UsageError(
        f"{package} cannot be imported ({error}).", "Install it: pip install 'mvdeploy[zoo]'."
    )
