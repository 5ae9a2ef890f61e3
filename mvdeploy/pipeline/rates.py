"""How fast this machine multiplies: what was measured once, or is measured now."""

from __future__ import annotations

from collections.abc import Callable

from mvdeploy.links.families.host import rates
from mvdeploy.records import Rates


def of_host(again: bool, on_step: Callable[[str], None] = lambda _: None) -> Rates:
    """Return the rates of this machine; they are measured where none are kept.

    Args:
        again: measure them anew.
        on_step: is told what begins that takes a while.

    Raises:
        EngineError: they could not be measured.
        NotWritten: they cannot be kept.
    """
    found = None if again else rates.kept()
    if found is None:
        on_step("measure how fast this machine multiplies: leave it alone for some seconds")
        found = rates.measure()
    return found
