"""A figure that notebooks show."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

_DPI = 100
"""Of what notebooks are given: a figure is as wide as a page of theirs then."""


class ShownFigure(Figure):
    """A figure that notebooks show as it is: those made without pyplot they print as text."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=_DPI)
        return target.getvalue()
