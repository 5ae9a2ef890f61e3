"""ExecuTorch's own kernels, operator by operator: nothing is delegated. Runs everywhere, slowly."""

from __future__ import annotations

from typing import Any

RUNS_ON = ""
FORMULATION = "plain"
REWRITINGS: tuple[str, ...] = ()
NEEDED: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()


def partitioners() -> list[Any]:
    """Return none."""
    return []
