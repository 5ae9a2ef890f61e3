"""The language of name maps: a table of module names there and here.

A name is a pattern with fields in braces. A field stands for a number, the same on both sides of a
row; ``{late-1}`` is one less than ``{late}``, because some count stages from 0; ``{module}`` stands
for any name. The last part of a
tensor's name (``weight``, ``running_mean``) is the same everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable

from mvdeploy.records.spec import ImageRule

_FIELDS = {
    "stage": "[1-5]",
    "early": "[12]",  # stages without patches
    "late": "[345]",  # stages with them
    "block": "[0-9]+",
    "layer": "[0-9]+",
    "module": ".+",
}
_FIELD = re.compile(r"\{(\w+)(-1)?\}")


ENCODER = "encoder."
"""Prefix of the tensors of our network's encoder, where it is part of a network with a head."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One row: a module there and here.

    Attributes:
        theirs: its name in the layout. Several names are a transform: the tensors of these modules,
            stacked along their first dimension, are ours.
        ours: its name in mvdeploy's network.
    """

    theirs: str | tuple[str, ...]
    ours: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one library names the tensors of a MobileViT, and what it feeds it.

    Attributes:
        rules: the name map.
        channel_order: ``RGB`` or ``BGR``.
        images: the rest of its preprocessing.
        heads: what a checkpoint is that has tensors with these prefixes besides.
        has_settings: its folders hold config.json and preprocessor_config.json of transformers.
        encoder: prefix of the tensors of a network that is the encoder of another, which has a
            head; None where the rules say it.
        images_of_heads: the rest of the preprocessing of networks with such a head; None for the
            same.
    """

    rules: tuple[Rule, ...]
    channel_order: str
    images: ImageRule
    heads: tuple[tuple[str, str], ...] = ()
    has_settings: bool = False
    encoder: str | None = None
    images_of_heads: ImageRule | None = None

    def theirs(self, ours: str) -> tuple[str, ...]:
        """Return the names that stand in this layout for one of our tensors: one, or its parts.

        Raises:
            KeyError: the table has no row for it.
        """
        if self.encoder is not None and ours.startswith(ENCODER):
            inner = self.theirs(ours.removeprefix(ENCODER))
            return tuple(f"{self.encoder}{name}" for name in inner)
        module, _, leaf = ours.rpartition(".")
        for rule in self.rules:
            match = _pattern(rule.ours).fullmatch(module)
            if match:
                names = (rule.theirs,) if isinstance(rule.theirs, str) else rule.theirs
                return tuple(f"{_fill(name, match)}.{leaf}" for name in names)
        raise KeyError(ours)

    def table(self, ours: Iterable[str]) -> dict[str, tuple[str, ...]] | None:
        """Return `theirs` of every name; None if the layout has no such network."""
        try:
            return {name: self.theirs(name) for name in ours}
        except KeyError:
            return None


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    pieces, end = [], 0
    for field in _FIELD.finditer(text):
        pieces += [re.escape(text[end : field.start()]), f"(?P<{field[1]}>{_FIELDS[field[1]]})"]
        end = field.end()
    return re.compile("".join(pieces) + re.escape(text[end:]))


def _fill(text: str, values: re.Match[str]) -> str:
    def value(field: re.Match[str]) -> str:
        return str(int(values[field[1]]) - 1) if field[2] else values[field[1]]

    return _FIELD.sub(value, text)
