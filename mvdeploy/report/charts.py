"""Charts of pages that are not of one run, as ``assets/report.js`` draws them: points and bars.

Each stands in the place of a picture, by its name, and tells its values on hover and to keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What could end the element that holds the data; all letters beyond ASCII are escaped anyway."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of a chart.

    Attributes:
        x: place from left to right.
        y: place from below; None for a stroke on the axis.
        lines: what is said of it, its name first.
        ends: of its interval, in the direction of y.
    """

    x: float
    y: float | None
    lines: tuple[str, ...]
    ends: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Points:
    """Points over two axes.

    Attributes:
        title: of this part of the picture; empty for the picture's own.
        x: title of the axis.
        y: likewise.
        series: points by what they are, the first of them filled, others as rings.
        labels: what stands at x of 1, 2 and so on; empty for the numbers themselves.
        levels: horizontal lines, each from x to x at y.
        limits: vertical lines, each with what it is.
        logarithmic: whether x is, where it spans much.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[Point]]
    labels: tuple[str, ...] = ()
    levels: tuple[tuple[float, float, float], ...] = ()
    limits: tuple[tuple[float, str], ...] = ()
    logarithmic: bool = False
    kind: str = "points"


@dataclasses.dataclass(frozen=True)
class Row:
    """A stacked bar: its name, the shares of its parts, as text too, and whether it is paler."""

    name: str
    shares: tuple[float, ...]
    said: tuple[str, ...]
    pale: bool


@dataclasses.dataclass(frozen=True)
class Bars:
    """Stacked bars of shares.

    Attributes:
        x: title of the axis.
        parts: each with its colour.
        rows: from above.
    """

    x: str
    parts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    kind: str = "bars"


Charts = Mapping[str, Sequence[Points | Bars]]
"""What stands in the place of a picture, by the picture's name."""


def text(charts: Charts) -> str:
    """Return the data of a page as JSON that may stand in a script element."""
    return in_script(
        {
            "cases": [],
            "charts": {name: list(map(dataclasses.asdict, of)) for name, of in charts.items()},
        }
    )


def in_script(data: Mapping[str, Any]) -> str:
    """Return data as JSON that ends no element and starts none."""
    dumped = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return "".join(_ESCAPED.get(letter, letter) for letter in dumped)
