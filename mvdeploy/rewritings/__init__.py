"""Operators of a traced program, written with others that an engine has, or computes right.

A rewriting is one file in this folder with:

``OPERATORS``
    operator of torch → a function of the same arguments that computes the same with others. It
    returns ``NotImplemented`` where it leaves a call as it is. What it makes belongs to the module
    of the operator that it replaces.

A format, or a backend of one, says which it needs. They change no result: each is compared with its
operator in float64, and a program is compared with its network anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def names() -> tuple[str, ...]:
    """Return the names of all rewritings."""
    return plugins.names(__name__)


def apply(program: ExportedProgram, chosen: Sequence[str]) -> ExportedProgram:
    """Return a program without the operators that some rewritings replace.

    Args:
        program: as it was traced.
        chosen: names of rewritings.
    """
    table: dict[Any, Callable[..., Any]] = {}
    for name in chosen:
        table |= plugins.load(__name__, name, "rewriting").OPERATORS
    return program.run_decompositions(table) if table else program
