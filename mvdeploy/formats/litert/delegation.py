"""Which operators of a ``.tflite`` file XNNPACK takes, as LiteRT divides it here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mvdeploy.quiet import muted
from mvdeploy.records import Delegation, Operator, Undelegated

_DELEGATE = "DELEGATE"


def found(data: bytes, operators: Sequence[Operator]) -> tuple[tuple[Operator, ...], Delegation]:
    """Return operators with the delegates that they run in, and how much runs in delegates.

    Args:
        data: the file.
        operators: of it, in order.
    """
    from ai_edge_litert.interpreter import Interpreter

    with muted():
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    own, delegates = nodes[: len(operators)], nodes[len(operators) :]
    placed = list(operators)
    for number, delegate in enumerate(n for n in delegates if n["op_name"] == _DELEGATE):
        for i in _inside(own, delegate):
            placed[i] = dataclasses.replace(placed[i], delegate=number)
    outside = Counter((op.type, op.module) for op in placed if op.delegate is None)
    return tuple(placed), Delegation(
        delegates=len(delegates),
        delegated=sum(op.delegate is not None for op in placed),
        undelegated=tuple(Undelegated(*key, count) for key, count in outside.items()),
    )


def _inside(nodes: Sequence[Any], delegate: Any) -> Iterable[int]:
    """Return the numbers of the operators that a delegate stands for."""
    maker = {out: i for i, node in enumerate(nodes) for out in map(int, node["outputs"])}
    seen = set(map(int, delegate["inputs"]))
    waiting = list(map(int, delegate["outputs"]))
    inside = set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in maker:
            continue
        seen.add(tensor)
        inside.add(maker[tensor])
        waiting += map(int, nodes[maker[tensor]]["inputs"])
    return sorted(inside)
