"""What calls of the functions have in common: how errors are worded, and what is recorded."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mvdeploy import started
from mvdeploy.errors import MvdeployError

P = ParamSpec("P")
R = TypeVar("R")

_COMMAND = re.compile(r"('mvdeploy[^']*')")
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)\b|(?<=\s)-(o)\b")

_KEYWORDS = {
    "model-arg": "arguments",
    "input": "photograph",
    "shape": "shapes",
    "no-cache": "cache",
    "o": "path",
}
"""Flags whose keywords have other names."""


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function one that programs call: what it raises names keywords instead of flags."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _own_environment():
                return function(*args, **kwargs)
        except MvdeployError as error:
            error.message, error.remedy = keywords(error.message), keywords(error.remedy)
            error.args = (f"{error.message} {error.remedy}",)
            raise

    return called


_written: dict[str, tuple[str, str | None]] = {}
"""Variables that libraries wrote in earlier calls: what they wrote, and what was there before."""


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Keep what libraries write into the environment from the runners, as the command does."""
    now = dict(os.environ)
    own = dict(now)
    for name, (value, before) in _written.items():
        if now.get(name) == value:  # nobody has changed it since
            own.pop(name)
            own |= {name: before} if before is not None else {}
    try:
        with started.remembered(own):
            yield
    finally:
        for name, value in os.environ.items():
            if now.get(name) != value:
                _written[name] = value, own.get(name)


def keywords(text: str) -> str:
    """Return a sentence with keywords in the place of flags, but in commands that it quotes."""

    def keyword(match: re.Match[str]) -> str:
        flag = match[1] or match[2]
        return _KEYWORDS.get(flag, flag.replace("-", "_"))

    parts = _COMMAND.split(text)
    return "".join(part if _COMMAND.match(part) else _FLAG.sub(keyword, part) for part in parts)


def recorded(function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a call as results record it: the function, and what was given, a word each.

    Args:
        function: that was called.
        given: its arguments by name, also those that have their defaults.
    """
    words = [f"mvdeploy.{function.__name__}"]
    for name, parameter in inspect.signature(function).parameters.items():
        value, usual = given.get(name, parameter.default), parameter.default
        plain = isinstance(value, str | int | float | tuple)  # tensors are not simply compared
        if name == "progress" or value is usual or (plain and value == usual):
            continue
        needed = usual is inspect.Parameter.empty
        words.append(_said(value) if needed else f"{name}={_said(value)}")
    return tuple(words)


def _said(value: Any) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_said(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_said, value)) + ")"
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{tuple(shape) if shape is not None else ''}"
