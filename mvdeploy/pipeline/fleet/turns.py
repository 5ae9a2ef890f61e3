"""Who may use a machine: devices at its cables at once, the machine itself alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_POLL_S = 0.2


class GivenUp(Exception):
    """Nobody waits for the task any more."""


class Turns:
    """Keeps tasks of one process from disturbing each other.

    Devices do not, as their cores are their own. While the machine itself is measured nothing else
    happens on it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: dict[str, bool] = {}
        self._alone_waiting = 0

    @contextlib.contextmanager
    def taken(self, unit: str, alone: bool, given_up: Callable[[], bool]) -> Iterator[None]:
        """Have a device, once it is free.

        Args:
            unit: its name.
            alone: whether nothing else may happen meanwhile.
            given_up: says that it need not be waited for any longer.

        Raises:
            GivenUp: before it was free.
        """
        with self._changed:
            self._alone_waiting += alone
            try:
                while not self._free(unit, alone):
                    if given_up():
                        raise GivenUp
                    self._changed.wait(_POLL_S)
                self._taken[unit] = alone
            finally:
                self._alone_waiting -= alone
        try:
            yield
        finally:
            with self._changed:
                del self._taken[unit]
                self._changed.notify_all()

    def _free(self, unit: str, alone: bool) -> bool:
        if alone:
            return not self._taken
        # Whoever has to be alone would wait for ever, if others went on coming.
        return (
            unit not in self._taken and not self._alone_waiting and True not in self._taken.values()
        )
