"""Where a history is, and what is said of runs that are added to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy.errors import UsageError
from mvdeploy.text_format import clean, count

if TYPE_CHECKING:
    from mvdeploy.analysis.view import View
    from mvdeploy.history.store import Store
    from mvdeploy.pipeline.history import Added

F = TypeVar("F", bound=Callable[..., Any])


def store(command: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The file of the history. [default: MVDEPLOY_HISTORY, or one in your data folder]",
    )(command)


def recording(command: F) -> F:
    """Add ``--record`` and ``--store``."""
    return click.option(
        "--record",
        is_flag=True,
        help="Add the result to the history, see 'mvdeploy history'.",
    )(store(command))


def opened(path: Path | None) -> Store:
    """Return the history."""
    from mvdeploy.history.store import Store

    return Store(path)


def wanted(record: bool, path: Path | None) -> Store | None:
    """Return the history that a result is to be added to, of what `recording` adds.

    Raises:
        UsageError: it cannot be written, which is better known before anything is measured.
    """
    if not record:
        if path is not None:
            raise UsageError("--store is given, but nothing is to be kept.", "Add --record.")
        return None
    found = opened(path)
    found.prepare()
    return found


def tell(added: Added, store: Store, *, err: bool = False) -> None:
    """Say what became of a run, on standard error if `err`."""
    for name, reason in added.left:
        click.echo(f"Not added: {name}: {reason}", err=True)
    known = f", {added.known} there already" if added.known else ""
    number = count(added.added, "result")
    click.echo(f"History: {number} of {clean(added.run)} added{known}, to {store.path}", err=err)


def record(view: View, folder: Path, store: Store) -> int:
    """Add the result of a run that is saved, and say so on standard error; return the exit status.

    What goes wrong takes nothing else of the result away.
    """
    from mvdeploy.analysis.trends import why_left
    from mvdeploy.pipeline import history

    if all(map(why_left, view.cases)):
        click.echo("History: nothing is added, as no case has a result to keep.", err=True)
        return 0
    try:
        tell(history.add(store, view), store, err=True)
    except UsageError as error:
        later = f"The result is saved; 'mvdeploy history add {folder}' adds it later."
        click.echo(f"Error: {error.message}\n{later}", err=True)
        return error.exit_code
    return 0
