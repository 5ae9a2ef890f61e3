"""What a file is verified with: an engine of this machine, or an interpreter of its format.

A format says so by its ``VERIFIER``. An interpreter is a folder here with what an engine's file
has; it runs what no engine of this machine can, and its times mean nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from mvdeploy import engines, plugins, precisions
from mvdeploy.engines import Engine
from mvdeploy.errors import UsageError


def choose(format_name: str, declared: str | None, precision: str | None = None) -> str:
    """Return the name of what runs a format here.

    Args:
        format_name: the format.
        declared: its ``VERIFIER``; None for the first engine that runs it.
        precision: in which; None for one that files say themselves.

    Raises:
        UsageError: nothing does.
    """
    if precision is not None and precisions.get(precision).by_engine:
        return _computing(format_name, precision)
    return declared or engines.for_format(format_name, engines.run_by("host"))


def _computing(format_name: str, precision: str) -> str:
    """Return the first engine that computes a format in a precision.

    Raises:
        UsageError: none does.
    """
    reasons = []
    for name in engines.run_by("host"):
        engine = engines.get(name)
        if format_name in engine.FORMATS and options(name, precision):
            lacking = engines.lacks(name, precision, engines.architecture())
            if not lacking:
                return name
            reasons.append(lacking)
    raise UsageError(
        f"Nothing here computes {format_name} programs in {precision} "
        f"({'; '.join(reasons) or 'no engine has it'}).",
        "Give another --precision, or do it where an engine has it.",
    )


def options(name: str, precision: str) -> Mapping[str, str]:
    """Return what an engine or an interpreter is opened with for a program of a precision."""
    own: Callable[[str], Mapping[str, str]] = getattr(get(name), "for_precision", lambda _: {})
    return own(precision)


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
