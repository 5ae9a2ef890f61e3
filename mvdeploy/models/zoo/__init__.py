"""Networks of other origins: one file for each, under the prefix that names it.

======================  =====================================================================
``timm:NAME``           a network of timm, with its own input size and preprocessing
``hf:TYPE``             an image classifier of transformers, by model type or local folder
``FILE.py:FACTORY``     what a function in a Python file returns
``module:NAME``         a network that a program holds
======================  =====================================================================

A file here has what a family has (see `mvdeploy.models`), but may import what it needs once it is
asked, and besides:

``PREFIX``
    what stands before the colon; a ``*`` in it stands for anything.
``USAGE``
    how a network of it is named; empty where that cannot be typed.
``HELD``
    true where no name and no file says what its networks are made of; may be missing.
``has_weights(spec)``
    whether the network comes with its weights.
``path_in(name)``
    what of a name may be the path of a file or folder; one whose names have none lacks it.
``allow(name)``
    where a name stands for code of the user's: lets it be run, which nothing else does.
``with_arguments(name, arguments)``
    the `ModelSpec` when nothing but keywords for what makes the network is asked for; raises
    `UsageError` for those that it does not take.
``saved_names(network)``
    names of tensors that its library saves under other names, and these; may be missing.

Their classes declare no category; `mvdeploy.models.zoo.categories` knows the usual ones by name.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Iterator
from types import ModuleType

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _torchvision
from mvdeploy.records import ModelSpec

_INSTALL = "Install it: pip install {}."


def find(name: str) -> ModuleType | None:
    """Return the file that builds a name with a prefix; None for a name without one.

    Raises:
        UsageError: there is no such prefix.
    """
    if ":" not in name:
        return None
    prefix, _, rest = name.partition(":")
    for kind in _kinds() if rest else ():
        # A path may hold colons itself.
        before = name.rpartition(":")[0] if "*" in kind.PREFIX else prefix
        if fnmatch.fnmatchcase(before, kind.PREFIX):
            return kind
    raise UsageError(f"'{name}' names no model.", f"Give {', '.join(usages())}, or a plain name.")


def usages() -> tuple[str, ...]:
    """Return how networks of other origins are named."""
    return tuple(kind.USAGE for kind in _kinds() if kind.USAGE)


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


def load(module: str) -> ModuleType:
    """Import a library of networks or a module of it; also beside a torchvision unfit for torch.

    Raises:
        UsageError: it is not installed, or does not load.
    """
    from mvdeploy.quiet import quiet

    _torchvision.provide()
    try:
        with quiet(errors=True):
            return importlib.import_module(module)
    except Exception as error:
        raise unloadable(module.partition(".")[0], error) from error


def unloadable(package: str, error: BaseException) -> UsageError:
    """Word the error for a library, or a part of it, that cannot be imported."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent == package:
        return UsageError(f"{package} is not installed.", _INSTALL.format(package))
    if absent is not None and not absent.startswith(f"{package}."):
        # pip looks at what an installed package needs, too, and knows how that is called there.
        message = f"{package} needs {absent}, which is not installed."
        return UsageError(message, _INSTALL.format(package))
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return UsageError(
        f"{package} is installed but does not load: {reason.rstrip('.')}.",
        "Install versions that fit each other; "
        f"python -c 'import {package}' shows the whole error.",
    )
