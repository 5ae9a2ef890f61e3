"""What formats share whose programs run in delegates."""

from __future__ import annotations

from typing import Any

from mvdeploy.errors import CheckFailed
from mvdeploy.formats._choices import option
from mvdeploy.records import Delegation

NAMED = 3
"""Undelegated operators that an error names."""


def required() -> Any:
    """Declare the option that anything but one delegate is an error."""
    return option(
        False,
        "--require-full-delegation",
        "Fail if one delegate does not hold the whole network.",
    )


def demand(delegation: Delegation) -> None:
    """Refuse a program that more or less than one delegate holds.

    Raises:
        CheckFailed: names what is outside.
    """
    if delegation.full:
        return
    left = [f"{u.operator} in '{u.module}'" for u in delegation.undelegated]
    named = "; ".join(left[:NAMED])
    more = f"; and {len(left) - NAMED} more" if len(left) > NAMED else ""
    raise CheckFailed(
        f"The program is not delegated as a whole: {delegation.delegates} delegates, "
        f"{sum(u.count for u in delegation.undelegated)} operators outside of them"
        + (f" ({named}{more})." if named else "."),
        "Leave out --require-full-delegation, or give another --formulation or --format.",
    )
