"""What each MIL operator computes, with PyTorch on the CPU.

An operator is a function of its MIL parameters, by name. Tensors come as PyTorch tensors, halves
widened to float32; what MIL demands to be constant and of rank 0 comes as a Python value; lists as
lists. What a function returns is rounded to the declared type by the caller. A function raises
`ValueError` for a variant that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def table() -> dict[str, Function]:
    """Return every operator that can be executed, by its MIL type."""
    from mvdeploy.verify.mil.operators import (
        elementwise,
        movement,
        network,
        resampling,
        whole_numbers,
    )

    return {
        **elementwise.OPERATORS,
        **movement.OPERATORS,
        **network.OPERATORS,
        **resampling.OPERATORS,
        **whole_numbers.OPERATORS,
    }
