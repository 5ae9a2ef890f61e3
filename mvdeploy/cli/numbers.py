"""Numbers as options take them: never infinite, and never none."""

from __future__ import annotations

import math
from typing import Any

import click

LONGEST_S = 1_000_000
"""Seconds, eleven days: clocks of the system cannot wait for any number of them."""


class Number(click.FloatRange):
    """A number in a range; ``nan`` and ``inf`` are in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number."""
        number = float(click.FLOAT.convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is no finite number.", param, ctx)
        return float(super().convert(number, param, ctx))


def seconds() -> Number:
    """Return the type of a time: more than 0, and at most `LONGEST_S`."""
    return Number(0, LONGEST_S, min_open=True)
