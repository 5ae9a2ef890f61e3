"""When to stop measuring: by the width of the interval, never by where it lies.

Whoever stops as soon as a difference looks significant calls equal models different in one of five
comparisons (Wald's sequential problem); the width knows nothing of the difference.
"""

from __future__ import annotations

import enum
import math


class Stop(enum.StrEnum):
    """Why measuring ended."""

    TARGET = "target reached"
    LIMIT = "time limit"
    OUT_OF_REACH = "target out of reach"


_HOPELESS = 2.0
"""Times the limit that it would take to reach a target which is given up."""


def decide(
    half_width: float | None,
    target: float,
    spent_s: float,
    limit_s: float,
    next_s: float = 0.0,
    *,
    give_up: bool = False,
) -> Stop | None:
    """Say whether to stop; None to go on.

    Args:
        half_width: of the interval, as a share of the estimate; None while there is none.
        target: half width that is enough.
        spent_s: seconds spent so far.
        limit_s: seconds that may be spent.
        next_s: seconds that the next step will take.
        give_up: whether to stop when the target would not even be reached in twice the time that
            may be spent, as widths shrink with the square root of time.
    """
    if half_width is not None and half_width <= target:
        return Stop.TARGET
    if spent_s + next_s > limit_s:
        return Stop.LIMIT
    if give_up and half_width is not None and target > 0:
        # Roots, as squares of what a user may give overflow.
        far = math.sqrt(spent_s) * (half_width / target) > math.sqrt(_HOPELESS * limit_s)
        return Stop.OUT_OF_REACH if far else None
    return None
