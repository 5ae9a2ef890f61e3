"""Progress of long work: a bar on a terminal, plain lines elsewhere; always on standard error.

On a terminal it also says what is left, and the median of what is being measured as its sessions
come in. It is drawn seldom, and never by a process that is measured.
"""

from __future__ import annotations

import collections
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from mvdeploy.cli import streams
from mvdeploy.text_format import clean, count, elide, milliseconds, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from mvdeploy.records import Measurement

_PER_SECOND = 2
"""How often it is drawn while nothing happens."""

_SHOWN = 4
"""Cases whose medians are shown at most, the last ones that were measured."""

_BAR, _NARROW = 20, 60
"""Columns of the bar, and of a terminal that has no room for it."""

_RECENT = 4
"""Sessions that the length of the next ones is taken from."""

_SESSION = re.compile(r"(?:^|: )session \d+$")
"""Ends what is announced of a session; these are alike in length."""


class Steps(Protocol):
    """Is told how long work goes on."""

    def __call__(self, text: str) -> None:
        """Take note that the next step begins."""

    def measured(self, slug: str, measurement: Measurement) -> None:
        """Take note that a case has new samples."""


class _Lines:
    """Prints every step on a line."""

    def __call__(self, text: str) -> None:
        click.echo(text, err=True)

    def measured(self, slug: str, measurement: Measurement) -> None:
        """Print nothing: a log has the report's numbers."""


class Board:
    """What a terminal shows: the step, how many are left, and medians.

    Args:
        total: how many steps there will be, about; None when that is not known.
        changed: called when there is something new to draw.
        clock: seconds.
    """

    def __init__(
        self,
        total: int | None,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = changed
        self._total, self._clock = total, clock
        self._text, self._begun = "start", 0
        self._began = self._since = clock()
        self._sessions: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._medians: dict[str, str] = {}

    def __call__(self, text: str) -> None:
        """Take note that the next step begins."""
        now = self._clock()
        if _SESSION.search(self._text):
            self._sessions.append(now - self._since)
        self._text, self._since = clean(text), now
        self._begun += 1
        self.changed()

    def measured(self, slug: str, measurement: Measurement) -> None:
        """Take note that a case has new samples."""
        from mvdeploy.stats.interval import median_interval
        from mvdeploy.stats.percentiles import percentile

        sessions = [s.steady.wall_ns for s in measurement.sessions if len(s.steady)]
        if not sessions:
            return
        interval = median_interval(sessions)
        sure = f" ±{percent(interval.half_width_relative, 2)}" if interval else ""
        p50 = milliseconds(percentile([t for one in sessions for t in one], 50))
        said = f"p50 {p50} ms{sure}, {count(len(sessions), 'session')}"
        # A new one each time, as it is drawn by a thread of its own.
        others = {name: text for name, text in self._medians.items() if name != slug}
        self._medians = {**others, slug: said}
        self.changed()

    def left_s(self) -> float | None:
        """Return how many seconds the steps to come take, about; None when that is not known.

        They are taken to be as long as the last sessions were.
        """
        left = (self._total or 0) - self._begun + 1
        if left <= 0 or not self._sessions or not _SESSION.search(self._text):
            return None
        each = sum(self._sessions) / len(self._sessions)
        return max(0.0, left * each - (self._clock() - self._since))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give its lines, none wider than the terminal."""
        from rich.text import Text

        width = max(1, options.max_width - 1)
        coloured = console.color_system is not None and not console.no_color
        yield self._head(width, options.encoding.startswith("utf"), coloured)
        medians = list(self._medians.items())[-_SHOWN:]
        widest = max((len(clean(slug)) for slug, _ in medians), default=0)
        for slug, said in medians:
            short = said if width >= _NARROW else said.partition(",")[0]
            room = max(6, min(widest, width - len(short) - 4))
            line = Text(f"  {elide(clean(slug), room):<{room}}  ", style="dim")
            line.append(short, style="bold")
            line.truncate(width)
            yield line

    def _head(self, width: int, unicode: bool, coloured: bool) -> Text:
        from rich.text import Text

        now = self._clock()
        total = max(self._total, self._begun) if self._total else None
        done = max(0, self._begun - 1)
        tail = f" {self._begun}/{total}" if total else ""
        tail += f" {_duration(now - self._began)}"
        left = self.left_s()
        if left is not None:
            tail += f", {'about ' if width >= _NARROW else '~'}{_duration(left)} left"
        bar = _BAR if total and width >= _NARROW else 0
        room = max(4, width - len(tail) - bar - (1 if bar else 0))
        line = Text(elide(self._text, room), style="bold")
        if bar and total:
            filled = round(bar * done / total)
            sign = "━" if unicode else "-"
            line.append(" ")
            line.append(sign * filled, style="green")
            line.append(
                (sign if coloured and unicode else " ") * (bar - filled), style="bright_black"
            )
        line.append(tail)
        line.truncate(width)
        return line


def _duration(seconds: float) -> str:
    whole = round(seconds)
    minutes = f"{whole // 60}:{whole % 60:02}"
    return minutes if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _moves() -> bool:
    """Say whether standard error is a terminal whose cursor can be moved."""
    stands = sys.stderr is not None and sys.stderr.isatty()
    return stands and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")


@contextmanager
def steps(total: int | None = None) -> Iterator[Steps]:
    """Give what is told of every step.

    Args:
        total: how many steps there will be, about; None when that is not known.
    """
    if not _moves():
        yield _Lines()
        return
    from rich.live import Live

    board = Board(total)
    with Live(
        board,
        console=streams.console(stderr=True),
        transient=True,
        refresh_per_second=_PER_SECOND,
    ) as live:
        board.changed = live.refresh
        yield board
