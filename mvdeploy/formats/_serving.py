"""Which part of a network the operators serve that lie in modules without a category.

A transformer block adds what its branches compute to what it was given, and normalises before each
branch; neither belongs to the block but to the branch. Where nothing declares that, the data flow
tells:

- an addition of two computed tensors closes the branch that made the later one of them;
- another operator belongs to what made its input, if that is a part of the same module (a scale
  behind attention, its rearranged output), and else to what reads its result (a LayerNorm before
  attention, the partition into windows);
- between the parts of a network, what has pre- and post-processing on either side belongs to it,
  and what follows the last addition to what that closes.
"""

from __future__ import annotations

import dataclasses
import graphlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mvdeploy.records import Category, ModuleInfo, Operator


def placed(
    operators: tuple[Operator, ...], modules: Mapping[str, ModuleInfo]
) -> tuple[Operator, ...]:
    """Return operators, with the category of what they serve where their module has none.

    Args:
        operators: of a program, in any order.
        modules: by dotted path.
    """
    if all(info.category is None for info in modules.values()):
        return operators
    try:
        flow = _Flow(operators, modules)
    except graphlib.CycleError:  # in a damaged file
        return operators
    return tuple(
        op if flow.own[i] is not None else dataclasses.replace(op, category=flow.category(i))
        for i, op in enumerate(operators)
    )


def spread(
    known: list[str | None], operators: Iterable[tuple[Sequence[Any], Sequence[Any]]]
) -> None:
    """Have operators that nothing names belong where their results go, or else whence they come.

    Args:
        known: where each operator belongs; None is filled in, where that can be told.
        operators: what each reads and makes, in the order in which they run.
    """
    flow = list(operators)
    maker = {made: i for i, (_, outputs) in enumerate(flow) for made in outputs}
    for i, (inputs, _) in reversed(list(enumerate(flow))):
        for read in inputs:
            if read in maker and known[maker[read]] is None:
                known[maker[read]] = known[i]
    for i, (inputs, _) in enumerate(flow):
        if known[i] is None:
            before = (known[maker[read]] for read in inputs if read in maker)
            known[i] = next((name for name in before if name is not None), None)


class _Flow:
    """The data flow between operators, which are known by their numbers.

    Attributes:
        own: the category of each operator's module.
    """

    def __init__(self, operators: tuple[Operator, ...], modules: Mapping[str, ModuleInfo]) -> None:
        infos = [modules.get(op.module) for op in operators]
        self.own = [info.category if info else None for info in infos]
        maker = {out: i for i, op in enumerate(operators) for out in op.outputs}
        self._feeds = [
            tuple(dict.fromkeys(maker[name] for name in op.inputs if maker.get(name, i) != i))
            for i, op in enumerate(operators)
        ]
        self._readers: dict[int, list[int]] = defaultdict(list)
        for i, feeds in enumerate(self._feeds):
            for feed in feeds:
                self._readers[feed].append(i)
        self._depth = _depths(self._feeds)
        parents = {path.rpartition(".")[0] for path in modules if path}
        self._module = [op.module for op in operators]
        self._block = [
            path if path in parents else path.rpartition(".")[0] for path in self._module
        ]
        self._sums = [
            len(feeds) > 1 and "add" in op.type.lower().split(".")
            for op, feeds in zip(operators, self._feeds, strict=True)
        ]

    def category(self, i: int) -> Category | None:
        """Return what an operator serves; None where nothing tells."""
        if self._sums[i]:
            # Of three summands, the sum of two is what was there before the third.
            branches = [feed for feed in self._feeds[i] if not self._sums[feed]] or self._feeds[i]
            later = sorted(branches, key=self._depth.__getitem__, reverse=True)
            closed = (self._made_by(branch, self._block[i]) for branch in later)
            return next(filter(None, closed), None) or self._read_by(i)
        before, after = self._made_by(i, self._block[i]), self._read_by(i)
        if Category.PRE_AND_POST in (before, after):
            return Category.PRE_AND_POST
        return before or after or self._made_by(i, "", whole=True)

    def _made_by(self, i: int, block: str, whole: bool = False) -> Category | None:
        """Return the category of what an operator's result comes from, within a module.

        Args:
            i: the operator.
            block: path of the module; empty for the network.
            whole: also from beyond an addition.
        """
        while True:
            if self.own[i] is not None:
                inside = not block or f"{self._module[i]}.".startswith(f"{block}.")
                return self.own[i] if inside else None
            if not self._feeds[i] or (self._sums[i] and not whole):
                return None
            i = max(self._feeds[i], key=self._depth.__getitem__)

    def _read_by(self, i: int) -> Category | None:
        """Return the category of what first reads an operator's result, up to the next addition."""
        while self._readers[i]:
            i = min(self._readers[i], key=self._depth.__getitem__)
            if self.own[i] is not None:
                return self.own[i]
            if self._sums[i]:
                return None
        return None


def _depths(feeds: list[tuple[int, ...]]) -> list[int]:
    """Return how many operators lie before each, on the longest way."""
    depths = [0] * len(feeds)
    for i in graphlib.TopologicalSorter(dict(enumerate(feeds))).static_order():
        depths[i] = max((depths[feed] + 1 for feed in feeds[i]), default=0)
    return depths
