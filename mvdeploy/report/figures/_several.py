"""Several runs: the latencies of every case side by side, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.breakdown_view import OUTSIDE, UNATTRIBUTED_TITLES, UNPLACED
from mvdeploy.analysis.several import Row, SeveralView
from mvdeploy.report.figures import _shares, _style, _text
from mvdeploy.text_format import clean, milliseconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR = 0.8
"""Part of a row's height that its bars take together."""

_NAME, _LINES = 26, 3


def letters(view: SeveralView) -> frozenset[str]:
    """Return the letters of all names in the figures that are not ASCII."""
    names = (*(row.name for row in view.rows), *(p.name for p in view.places), *view.parts)
    return frozenset(letter for name in names for letter in name if letter > "\x7f")


def latencies(view: SeveralView) -> Figure:
    """Draw a bar for each place that has a latency, row by row, with its interval."""
    rows = [row for row in view.rows if any(cell and cell.case.timing for cell in row.cells)]
    figure = _style.figure(1.2 + len(rows) * (0.25 + 0.26 * len(view.places)))
    axes = figure.subplots()
    height = _BAR / len(view.places)
    longest = 0.0
    for number, row in enumerate(rows):
        for place in range(len(view.places)):
            middle = number - _BAR / 2 + (place + 0.5) * height
            longest = max(longest, _latency(axes, row, place, middle, height))
    axes.set_yticks(range(len(rows)), [_label(view, row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 1.12 * longest)
    axes.set_xlabel("milliseconds of one inference (p50, with its 95 % interval within the run)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    looks = {
        _label(view, place.name, 40, 1): _style.series_look(i)
        for i, place in enumerate(view.places)
    }
    _shares.legend(figure, looks)
    return figure


def _latency(axes: Any, row: Row, place: int, middle: float, height: float) -> float:
    """Draw one bar; return how far it reaches, in milliseconds."""
    cell = row.cells[place]
    if cell is None or cell.case.timing is None:
        return 0.0
    p50, interval = cell.case.timing.wall.p50 / 1e6, cell.case.timing.interval
    colour, hatch = _style.series_look(place)
    axes.barh(middle, p50, 0.9 * height, color=colour, hatch=hatch, edgecolor="white")
    end = p50
    if interval:
        low, high = interval.low / 1e6, interval.high / 1e6
        sides = [[max(0.0, p50 - low)], [max(0.0, high - p50)]]
        axes.errorbar(p50, middle, xerr=sides, color=_style.INK, capsize=2, lw=0.9)
        end = max(p50, high)
    mark = " *" if cell.doubtful else ""
    place_of_text = {"xytext": (4, 0), "textcoords": "offset points"}
    said = f"{milliseconds(cell.case.timing.wall.p50)}{mark}"
    axes.annotate(said, (end, middle), va="center", size=7.5, **place_of_text)
    return end


def shares(view: SeveralView) -> Figure:
    """Draw the parts of every latency as one bar of 100 percent, row by row."""
    figure = _style.figure(1.3 + 0.42 * len(view.divided))
    axes = figure.subplots()
    rest = dict(zip(UNATTRIBUTED_TITLES.values(), (UNPLACED, OUTSIDE), strict=True))
    usual = _style.looks()
    looks = {
        part: _style.unattributed(rest[part]) if part in rest else next(usual)
        for part in view.parts
    }
    for number, one in enumerate(view.divided):
        _shares.bar(axes, number, 0.7, one.shares, looks)
        if number and view.divided[number - 1].row != one.row:
            axes.axhline(number - 0.5, color=_style.FAINT, lw=0.8)
    axes.set_yticks(
        range(len(view.divided)),
        [_label(view, f"{one.row}: {view.places[one.place].name}") for one in view.divided],
        size=8,
    )
    axes.set_ylim(len(view.divided) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent of the latency")
    axes.tick_params(axis="y", length=0)
    _shares.legend(figure, looks)
    return figure


def _label(view: SeveralView, name: str, width: int = _NAME, lines: int = _LINES) -> str:
    return _text.wrapped(_text.drawable_with(letters(view), clean(name)), width, lines)
