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

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Rewriting = Callable[..., Any]


def names() -> tuple[str, ...]:
    """Return the names of all rewritings."""
    return plugins.names(__name__)


def apply(program: ExportedProgram, chosen: Sequence[str]) -> ExportedProgram:
    """Return a program without the operators that some rewritings replace.

    Args:
        program: as it was traced.
        chosen: names of rewritings.
    """
    kinds: dict[Any, list[Rewriting]] = {}
    for name in chosen:
        for operator, rewriting in plugins.load(__name__, name, "rewriting").OPERATORS.items():
            kinds.setdefault(operator, []).append(rewriting)
    table = {operator: functools.partial(first, each) for operator, each in kinds.items()}
    return program.run_decompositions(table) if table else program


def first(rewritings: Sequence[Rewriting], *args: Any, **kind: Any) -> Any:
    """Return what the first of some rewritings makes of a call that it does not leave."""
    for rewriting in rewritings:
        made = rewriting(*args, **kind)
        if made is not NotImplemented:
            return made
    return NotImplemented
