"""What a file is verified with: an engine of this machine, or an interpreter of its format.

A format says so by its ``VERIFIER``. An interpreter is a folder here with what an engine's file
has; it runs what no engine of this machine can, and its times mean nothing.
"""

from __future__ import annotations

import importlib
from typing import cast

from mvdeploy import engines, plugins
from mvdeploy.engines import Engine


def choose(format_name: str, declared: str | None) -> str:
    """Return the name of what runs a format here.

    Args:
        format_name: the format.
        declared: its ``VERIFIER``; None for the first engine that runs it.

    Raises:
        UsageError: nothing does.
    """
    return declared or engines.for_format(format_name, engines.run_by("host"))


def title(name: str) -> str:
    """Return what is said to have run a file: the engine and its version."""
    version = get(name).version()
    return f"{name} {version}" if name in engines.names() else version


def get(name: str) -> Engine:
    """Return an engine or an interpreter by name.

    Raises:
        UsageError: there is none.
    """
    if name in engines.names():
        return engines.get(name)
    try:
        return cast(Engine, importlib.import_module(f"mvdeploy.verify.{name}"))
    except ModuleNotFoundError as error:
        raise plugins.unknown("engine", name, engines.names()) from error
