"""Progress of long work: a bar on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from mvdeploy.cli import streams


def _moves() -> bool:
    """Say whether standard error is a terminal whose cursor can be moved."""
    stands = sys.stderr is not None and sys.stderr.isatty()
    return stands and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")


@contextmanager
def steps(total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Give a function that announces the next step.

    Args:
        total: how many steps there will be, about; None when that is not known.
    """
    if not _moves():
        yield lambda text: click.echo(text, err=True)
        return
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=streams.console(stderr=True), transient=True) as progress:
        task = progress.add_task("start", total=total)
        begun = 0

        def announce(text: str) -> None:
            nonlocal begun
            progress.update(task, description=escape(text), completed=begun)
            begun += 1

        yield announce
