"""Networks of other origins: one file for each, under the prefix that names it.

======================  =====================================================================
``timm:NAME``           a network of timm, with its own input size and preprocessing
``hf:TYPE``             an image classifier of transformers, by model type or local folder
``FILE.py:FACTORY``     what a function in a Python file returns
======================  =====================================================================

A file here has what a family has (see `mvdeploy.models`), but may import what it needs. Their
classes declare no category; `mvdeploy.models.zoo.categories` knows the usual ones by name.
"""

from __future__ import annotations

from types import ModuleType

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec

_PREFIXES = {"timm": "timm", "hf": "hf"}


def find(name: str) -> ModuleType | None:
    """Return the file that builds a name with a prefix; None for a name without one.

    Raises:
        UsageError: there is no such prefix.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return None
    if prefix.endswith(".py"):
        return plugins.load(__name__, "factory", "kind of model")
    if prefix not in _PREFIXES or not rest:
        raise UsageError(
            f"'{name}' names no model.",
            "Give timm:NAME, hf:TYPE, FILE.py:FACTORY, or a plain name.",
        )
    return plugins.load(__name__, _PREFIXES[prefix], "kind of model")


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
