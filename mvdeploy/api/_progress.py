"""Progress of long calls, for who asks for it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mvdeploy.errors import UsageError

OnStep = Callable[[str], None]
Progress = bool | OnStep | None
"""None or False for silence, True for a bar, or what is told of every step."""


@contextmanager
def steps(progress: Progress, total: int) -> Iterator[OnStep]:
    """Give a function that announces the next step.

    Args:
        progress: see `Progress`. Without a terminal and outside of notebooks, a bar is lines on
            standard error.
        total: how many steps there will be, about.

    Raises:
        UsageError: it is none of these.
    """
    if callable(progress):
        yield progress
    elif progress is None or progress is False:
        yield lambda _: None
    elif progress is True:
        with _bar(total) as announce:
            yield announce
    else:
        raise UsageError(
            f"progress is {progress!r}.",
            "Give True for a bar, a function that is told of every step, or leave it out.",
        )


@contextmanager
def _bar(total: int) -> Iterator[OnStep]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    moves = console.is_terminal and not console.is_dumb_terminal
    if console.is_jupyter:
        moves = importlib.util.find_spec("ipywidgets") is not None  # which rich draws it with
    if not moves:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=total)
        begun = 0

        def announce(text: str) -> None:
            nonlocal begun
            bar.update(task, description=escape(text), completed=begun)
            begun += 1

        yield announce
