"""Keywords for the function of a library that makes a network, as they are typed."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import Arguments

_WORDS = {"true": True, "false": False, "none": None}
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def values(arguments: Arguments) -> dict[str, Any]:
    """Return the keywords: numbers, true, false, none, lists with commas, and else text."""
    return {name: _value(text) for name, text in arguments}


def _value(text: str) -> Any:
    if "," in text:
        return [_value(part) for part in text.removesuffix(",").split(",")]
    plain = text.strip()
    if plain.lower() in _WORDS:
        return _WORDS[plain.lower()]
    if _NUMBER.fullmatch(plain):
        return int(plain)
    return float(plain) if _DECIMAL.fullmatch(plain) else plain


def check(model: str, arguments: Arguments, taken: Set[str], reserved: dict[str, str]) -> None:
    """Refuse keywords that a network does not take.

    Args:
        model: its name.
        arguments: the keywords.
        taken: names of those that there are.
        reserved: those that have an option of their own, and that.

    Raises:
        UsageError: names those that it takes.
    """
    for name, _ in arguments:
        if name in reserved:
            raise UsageError(
                f"--model-arg {name} is not given to {model}.", f"Use {reserved[name]} instead."
            )
        if name not in taken:
            raise plugins.unknown(
                f"keyword of {model}", name, tuple(sorted(taken - reserved.keys()))
            )
