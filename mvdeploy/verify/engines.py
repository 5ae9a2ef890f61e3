"""What a file is verified with: an engine of this machine, or an interpreter of its format."""

from __future__ import annotations

import importlib
from typing import cast

from mvdeploy import engines
from mvdeploy.engines import Engine

HOST = ("onnxruntime", "pytorch", "executorch")
"""Engines of this machine."""

_INTERPRETERS = {"coreml": "mil"}
"""Files in this folder that run what no engine of this machine can, by format."""


def for_format(format_name: str) -> str:
    """Return the name of what runs a format here.

    Raises:
        UsageError: nothing does.
    """
    return _INTERPRETERS.get(format_name) or engines.for_format(format_name, HOST)


def title(name: str) -> str:
    """Return what is said to have run a file: the engine and its version."""
    version = get(name).version()
    return version if name in _INTERPRETERS.values() else f"{name} {version}"


def get(name: str) -> Engine:
    """Return an engine or an interpreter by name.

    Raises:
        UsageError: there is none.
    """
    if name in _INTERPRETERS.values():
        return cast(Engine, importlib.import_module(f"mvdeploy.verify.{name}"))
    return engines.get(name)
