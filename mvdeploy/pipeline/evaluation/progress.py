"""Says now and then how far an evaluation has come."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEPS, _STEP_S = 10, 30.0
"""How often is said how far it has come: after such a part of the images, or so many seconds."""


class Progress:
    """Says now and then how many images are done."""

    def __init__(self, of: int, on_step: Callable[[str], None]) -> None:
        self._of, self._on_step = of, on_step
        self._next = -(-of // _STEPS)
        self._said = time.monotonic()

    def __call__(self, done: int, left_out: int) -> None:
        """Say it, if that is due."""
        late = time.monotonic() - self._said > _STEP_S
        if done < self._next and not late:
            return
        self._next = done + -(-self._of // _STEPS)
        self._said = time.monotonic()
        lost = f", {left_out:,} left out" if left_out else ""
        self._on_step(f"{done:,} of {self._of:,} images{lost}")
