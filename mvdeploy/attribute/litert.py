"""Find out which operators of a LiteRT program the events of its profile are.

Outside of delegates an event has the operator's number in the file. Inside of XNNPACK it has only
the name of what runs; but operators run there in the file's order, delegate by delegate, and which
of them a delegate holds follows from the data flow, as LiteRT cuts a program along it. So the two
lists are aligned: an event goes to an operator that can become what it is called.

XNNPACK merges some operators with their neighbours, whose events stand for both then, and adds some
of its own, which count with the operator that they are for. What neither explains is a finding, and
such an event is placed nowhere: a wrong module would be worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from mvdeploy.attribute import xnnpack
from mvdeploy.records import (
    Artifact,
    Finding,
    Level,
    Operator,
    OperatorKind,
    OperatorTimes,
    TraceEvent,
)

# What XNNPACK calls the operators of a program. A product in whole numbers that are found at run
# time has a conversion in front; XNNPACK has no name for a sigmoid in whole numbers, which is a
# table.
_NAMES = """
FULLY_CONNECTED: Fully Connected, Dynamic Fully Connected
CONV_2D: Convolution, Fully Connected
DEPTHWISE_CONV_2D: Convolution
TRANSPOSE_CONV: Deconvolution
BATCH_MATMUL: Batch Matrix Multiply
SOFTMAX: Softmax
LOGISTIC: Sigmoid, Invalid Unary Op
TANH: TanH, Invalid Unary Op
GELU: GELU, ApproxGELU
ELU: ELU, Invalid Unary Op
HARD_SWISH: HardSwish
LEAKY_RELU: LeakyReLU
PRELU: PReLU
RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1: Clamp
TRANSPOSE: Transpose, Copy
RESHAPE EXPAND_DIMS SQUEEZE: Static Reshape, Static Expand Dims, Copy
SLICE STRIDED_SLICE: Slice, Static Slice, Strided Slice
CONCATENATION: Copy, Concatenate
SPLIT: Copy, Slice, Static Slice, Even Split
PAD PADV2: Constant Pad
BROADCAST_TO TILE: Static Broadcast, Copy
ADD: Add
SUB: Subtract
MUL: Multiply
DIV: Divide
MAXIMUM: Maximum
MINIMUM: Minimum
SQUARED_DIFFERENCE: Squared Difference
SQUARE: Square
SQRT: Square Root
RSQRT: Reciprocal Square Root
POW: Power, Square
EXP: Exp
LOG: Log
ABS: Abs
NEG: Negate
CEIL: Ceiling
FLOOR: Floor
ROUND: Bankers Rounding
SIN: Sine
COS: Cosine
MEAN: Mean
SUM: Sum
REDUCE_MAX: Max, Reduce Max
REDUCE_MIN: Min, Reduce Min
MAX_POOL_2D: Max Pooling
AVERAGE_POOL_2D: Average Pooling
RESIZE_BILINEAR: Resize Bilinear
DEPTH_TO_SPACE: Depth To Space
SPACE_TO_DEPTH: Space To Depth
QUANTIZE DEQUANTIZE CAST: Convert, Copy
"""
_RUNS_AS = {
    operator: tuple(names.strip().split(", "))
    for operators, _, names in (line.partition(":") for line in _NAMES.split("\n"))
    for operator in operators.split()
}

_KINDS = {
    OperatorKind.MATMUL: "FULLY_CONNECTED BATCH_MATMUL",
    OperatorKind.CONV: "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV CONV_3D",
    OperatorKind.SOFTMAX: "SOFTMAX LOG_SOFTMAX",
    OperatorKind.LAYERNORM: "L2_NORMALIZATION",
    OperatorKind.ACTIVATION: "LOGISTIC TANH GELU ELU HARD_SWISH LEAKY_RELU PRELU RELU RELU6"
    " RELU_N1_TO_1 RELU_0_TO_1",
    OperatorKind.DATA_MOVEMENT: "TRANSPOSE RESHAPE EXPAND_DIMS SQUEEZE SLICE STRIDED_SLICE"
    " CONCATENATION SPLIT SPLIT_V PACK UNPACK PAD PADV2 MIRROR_PAD BROADCAST_TO TILE GATHER"
    " GATHER_ND SCATTER_ND QUANTIZE DEQUANTIZE CAST DEPTH_TO_SPACE SPACE_TO_DEPTH REVERSE_V2 SHAPE",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}

_INTO_READER = {
    *("PAD", "PADV2", "TRANSPOSE", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "BROADCAST_TO"),
    *("QUANTIZE", "DEQUANTIZE", "CAST"),
}
"""Operators that XNNPACK may do together with the one that reads their result."""

_ADDED = ("Convert", "Transpose", "Copy", "Static Reshape")
"""What XNNPACK may run on its own account: conversions, and the parts of one operator."""

_EXPECTED, _STRANGE = 1, 50
"""What it costs in an alignment to leave out an operator or an event."""


class Event(NamedTuple):
    """Something that was timed.

    Attributes:
        name: as XNNPACK calls what ran; outside of delegates the operator's type.
        delegated: whether it ran inside of a delegate.
        number: outside of delegates, the operator's in the file.
        ns: how long it took.
    """

    name: str
    delegated: bool
    number: int
    ns: int


@dataclasses.dataclass
class _Matches:
    """Which operators events stand for.

    Attributes:
        operators: numbers of operators by the event's; the one that it counts under first.
        added: what stands for no operator, with that of an event that it belongs to.
        reasons: what could not be explained.
    """

    operators: dict[int, list[int]]
    added: dict[int, int]
    reasons: list[str]


def place(artifact: Artifact, inferences: Sequence[Sequence[Event]]) -> OperatorTimes:
    """Return an event for each operator that ran, in the order in which they ran.

    Args:
        artifact: has the operators of the file, in its order.
        inferences: events of each; the same but for their times.
    """
    ran = inferences[0]
    samples = [tuple(run[i].ns for run in inferences) for i in range(len(ran))]
    found = _match(artifact.operators, ran)
    events = tuple(_traced(artifact, ran, i, found, samples[i]) for i in range(len(ran)))
    inner = [each for each, event in zip(samples, ran, strict=True) if event.delegated]
    count = sum(not event.modules for event in events)
    findings = (
        *_unmatched(count, found.reasons),
        *_widened(artifact, ran),
        *xnnpack.coarse(inner),
    )
    return OperatorTimes(events, findings)


def _match(operators: Sequence[Operator], ran: Sequence[Event]) -> _Matches:
    found = _Matches({}, {}, [])
    alone: set[int] = set()
    for i, event in enumerate(ran):
        if event.delegated:
            continue
        if event.number < len(operators) and operators[event.number].type == event.name:
            found.operators[i] = [event.number]
            alone.add(event.number)
        else:
            found.reasons.append(f"'{event.name}' ran as number {event.number} of the program")
    inside = [i for i, event in enumerate(ran) if event.delegated]
    if inside:
        order = delegated(operators, alone)
        _match_delegated(operators, ran, order, inside, found)
    return found


def delegated(operators: Sequence[Operator], alone: Collection[int]) -> list[int]:
    """Return the numbers of the operators in delegates, in the order in which they run.

    LiteRT cuts a program into parts that are wholly inside of a delegate or outside of them; each
    takes in all that can be computed by then.

    Args:
        operators: of the program, in its order.
        alone: numbers of those outside of delegates.
    """
    missing = {out for operator in operators for out in operator.outputs}
    waiting, order = list(range(len(operators))), list[int]()
    while waiting:
        kind: bool | None = None
        left = len(waiting)
        later = []
        for i in waiting:
            is_alone = i in alone
            if kind in (None, is_alone) and missing.isdisjoint(operators[i].inputs):
                kind = is_alone
                missing.difference_update(operators[i].outputs)
                order += [] if is_alone else [i]
            else:
                later.append(i)
        waiting = later
        if len(waiting) == left:  # a damaged file: an operator waits for itself
            return order + [i for i in waiting if i not in alone]
    return order


def _match_delegated(
    operators: Sequence[Operator],
    ran: Sequence[Event],
    order: Sequence[int],
    inside: Sequence[int],
    found: _Matches,
) -> None:
    types = [operators[i].type for i in order]
    names = [xnnpack.plain(ran[i].name) for i in inside]
    matched = _align(types, names)
    of_operator = {order[a]: inside[b] for a, b in matched}
    for number, event in of_operator.items():
        found.operators[event] = [number]
    befores = dict(zip(order, ["", *types], strict=False))
    for number in order:
        if number in of_operator:
            continue
        taker = _with(operators, number, of_operator)
        if taker is None or not _can_merge(operators[number].type, befores[number]):
            found.reasons.append(f"nothing ran for '{operators[number].type}' number {number}")
        else:
            found.operators[taker].append(number)
    events = [event for event in inside if event in found.operators]
    for position, event in enumerate(inside):
        if event in found.operators:
            continue
        neighbour = _neighbour(operators, names[position], event, events, found)
        if neighbour is None:
            found.reasons.append(f"'{ran[event].name}' ran, and no operator becomes that")
        else:
            found.added[event] = neighbour


def _align(types: Sequence[str], names: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of positions, so that as little as possible of both lists is left over."""
    optional = [
        _EXPECTED if _can_merge(own, before) else _STRANGE
        for own, before in zip(types, ["", *types], strict=False)
    ]
    added = [_EXPECTED if name in _ADDED else _STRANGE for name in names]
    fits = [_RUNS_AS.get(own, ()) for own in types]
    # From the end on, so that the way is walked from the beginning.
    width = len(names)
    below = [0] * (width + 1)
    for j in reversed(range(width)):
        below[j] = below[j + 1] + added[j]
    costs = [below]
    for i in reversed(range(len(types))):
        row = [0] * (width + 1)
        row[width] = below[width] + optional[i]
        for j in reversed(range(width)):
            best = min(below[j] + optional[i], row[j + 1] + added[j])
            row[j] = min(best, below[j + 1]) if names[j] in fits[i] else best
        costs.append(row)
        below = row
    costs.reverse()
    return list(_walk(costs, optional, fits, names))


def _walk(
    costs: list[list[int]],
    optional: Sequence[int],
    fits: Sequence[Sequence[str]],
    names: Sequence[str],
) -> Iterator[tuple[int, int]]:
    i = j = 0
    while i < len(optional) and j < len(names):
        if names[j] in fits[i] and costs[i][j] == costs[i + 1][j + 1]:
            yield i, j
            i, j = i + 1, j + 1
        elif costs[i][j] == costs[i + 1][j] + optional[i]:
            i += 1
        else:
            j += 1


def _can_merge(type_: str, before: str) -> bool:
    """Whether XNNPACK may do an operator with a neighbour; x·sigmoid(x) is one table there."""
    return type_ in _INTO_READER or (type_ == "MUL" and before == "LOGISTIC")


def _with(operators: Sequence[Operator], number: int, of_operator: dict[int, int]) -> int | None:
    """Return the event of the operator that one without an event of its own is done with."""
    forwards = operators[number].type in _INTO_READER
    tensors = set(operators[number].outputs if forwards else operators[number].inputs)
    numbers = range(number + 1, len(operators)) if forwards else range(number - 1, -1, -1)
    for i in numbers:
        near, far = operators[i].inputs, operators[i].outputs
        if not forwards:
            near, far = far, near
        if tensors.isdisjoint(near):
            continue
        if i in of_operator:
            return of_operator[i]
        tensors.update(far)
    return None


def _neighbour(
    operators: Sequence[Operator], name: str, event: int, events: Sequence[int], found: _Matches
) -> int | None:
    """Return the event that one belongs to that stands for no operator.

    That is the one before it, of an operator with several events; else the next.
    """
    if name not in _ADDED:
        return None
    before = max((e for e in events if e < event), default=None)
    after = min((e for e in events if e > event), default=None)
    if before is not None:
        number = found.operators[before][0]
        if after is None or name in _RUNS_AS.get(operators[number].type, ()):
            return before
    return after


def _traced(
    artifact: Artifact, ran: Sequence[Event], i: int, found: _Matches, samples: tuple[int, ...]
) -> TraceEvent:
    name = ran[i].name
    numbers = found.operators.get(found.added.get(i, i))
    if numbers is None:
        kind = kind_of_name(xnnpack.plain(name)) if ran[i].delegated else _kind(name, "")
        return TraceEvent(f"{name} #{i}", name, kind, (), "", samples)
    operators = [artifact.operators[number] for number in numbers]
    modules = tuple(dict.fromkeys(operator.module for operator in operators))
    if i in found.added:
        category, kind = operators[0].category, kind_of_name(xnnpack.plain(name))
        return TraceEvent(
            f"{name} #{i}", name, kind, modules[:1], "neighbour", samples, category=category
        )
    module = artifact.modules.get(operators[0].module)
    kind = _kind(operators[0].type, module.class_name if module else "")
    return TraceEvent(
        operators[0].name,
        name,
        kind,
        modules,
        "order" if ran[i].delegated else "name",
        samples,
        category=operators[0].category,
    )


def _kind(type_: str, class_name: str) -> OperatorKind:
    return xnnpack.written_out(class_name) or _KIND_OF.get(type_, OperatorKind.OTHER)


def kind_of_name(name: str) -> OperatorKind:
    """Return what an operator computes of which no more is known than XNNPACK's name for it."""
    types = (own for own, names in _RUNS_AS.items() if name in names)
    return _KIND_OF.get(next(types, ""), OperatorKind.OTHER)


def _unmatched(count: int, reasons: Sequence[str]) -> Iterator[Finding]:
    if reasons:
        reason = xnnpack.first_of(reasons)
        yield Finding("unmatched_events", Level.WARNING, {"count": count, "reason": reason})


def _widened(artifact: Artifact, ran: Sequence[Event]) -> Iterator[Finding]:
    """Say that a program in halves was not computed in them: XNNPACK does so without a word."""
    kernels = " ".join(event.name for event in ran if event.delegated)
    if artifact.precision == "fp16" and "F32)" in kernels and "F16)" not in kernels:
        yield Finding("computed_in_float32", Level.WARNING)
