"""Find out what the nodes of a program that OpenVINO has compiled stand for, and what they took.

The engine says of a node which of the file's nodes are in it. What stands for none is a change of
layout, or a part of an operator that it took apart: the node that reads its result tells where it
belongs, else the one that made what it reads.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mvdeploy.records import (
    Artifact,
    Category,
    Finding,
    Level,
    Operator,
    OperatorKind,
    OperatorTimes,
    TraceEvent,
)
from mvdeploy.records.limits import Count, Nanoseconds

WORDS = {
    "openvino_coarse_times": (
        "OpenVINO gives the times of {count} operators in whole microseconds and cuts off the "
        "rest: up to {percent} % of the operator time is missing from them, and is counted outside "
        "operators.",
        "Take shares of small operators with that uncertainty; a larger image makes it smaller.",
    ),
}
"""What findings of its profiles say, and what to do about them."""

PRODUCTS = ("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul")
"""The engine's types of nodes that nearly all of the arithmetic is in."""

_STEP_NS = 1000
_COARSE = 0.02

_KINDS = {
    OperatorKind.CONV: "Convolution GroupConvolution Deconvolution DeformableConvolution"
    " Conv ConvTranspose ConvInteger QLinearConv",
    OperatorKind.MATMUL: "FullyConnected MatMul Gemm MatMulInteger QLinearMatMul Einsum"
    " ScaledDotProductAttention ScaledDotProductAttentionWithKVCache MHA Attention"
    " MultiHeadAttention",
    OperatorKind.SOFTMAX: "Softmax LogSoftmax",
    OperatorKind.LAYERNORM: "MVN NormalizeL2 RMSNorm LayerNormalization SkipLayerNormalization"
    " BatchNormalization InstanceNormalization GroupNormalization",
    OperatorKind.ACTIVATION: "Swish Sigmoid Relu Gelu Clip HardSwish HardSigmoid Tanh Erf Elu"
    " LeakyRelu PRelu Softplus Mish QuickGelu",
    OperatorKind.DATA_MOVEMENT: "Reorder Reshape Transpose Split Concatenation Gather GatherND"
    " StridedSlice Pad Tile Convert Broadcast ShuffleChannels DepthToSpace SpaceToDepth Concat"
    " Slice Squeeze Unsqueeze Flatten Expand Cast FakeQuantize QuantizeLinear DequantizeLinear"
    " DynamicQuantizeLinear",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a compiled program.

    Attributes:
        name: its own.
        type: the engine's.
        stands_for: names of the file's nodes that are in it, with commas between them.
        reads: names of the nodes whose results it reads.
    """

    name: str
    type: str
    stands_for: str
    reads: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is kept of a profiled session.

    Attributes:
        nodes: of the compiled program, in the order in which they run.
        averages_us: by node what the engine said of its time after each inference: the average over
            all until then, in whole microseconds.
        walls_ns: what each of these took as a whole.
    """

    nodes: tuple[Node, ...]
    averages_us: dict[str, tuple[Count, ...]]
    walls_ns: tuple[Nanoseconds, ...]


class _Place(NamedTuple):
    modules: tuple[str, ...] = ()
    placed_by: str = ""
    category: Category | None = None


def place(artifact: Artifact, profile: Profile, runs: int) -> OperatorTimes:
    """Return the nodes that ran, with their modules and their times in the last inferences.

    Args:
        artifact: the manifest of the file.
        profile: of a session of it, with at least so many inferences.
        runs: inferences.
    """
    samples = _within(profile, runs)
    by_name = _Operators(artifact.operators)
    operators = {node.name: by_name.of(node) for node in profile.nodes}
    places = {name: _placed(found) for name, found in operators.items()}
    _fill(places, profile.nodes)
    events = [
        TraceEvent(
            name=node.name,
            type=node.type,
            kind=_kind(node, operators[node.name]),
            modules=places[node.name].modules,
            placed_by=places[node.name].placed_by,
            samples_ns=samples[node.name],
            category=places[node.name].category,
        )
        for node in profile.nodes
        if node.name in samples
    ]
    return OperatorTimes(tuple(events), tuple(_coarse(events)))


def _within(profile: Profile, runs: int) -> dict[str, tuple[int, ...]]:
    """Return the times of nodes in the last inferences, together no longer than these were.

    An inference that was disturbed leaves its neighbours some microseconds too many.
    """
    samples = {name: samples_ns(said)[-runs:] for name, said in profile.averages_us.items()}
    sums = map(sum, zip(*samples.values(), strict=True))
    shares = [
        min(1.0, wall / total) if total else 1.0
        for wall, total in zip(profile.walls_ns[-runs:], sums, strict=True)
    ]
    return {
        name: tuple(int(ns * share) for ns, share in zip(taken, shares, strict=True))
        for name, taken in samples.items()
    }


class _Operators:
    """The exported operators, by the names that the engine has for them."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        # A node without a name is called after its first output.
        self._known = {out: op for op in operators for out in op.outputs}
        self._known |= {op.name: op for op in operators if op.name}

    def of(self, node: Node) -> tuple[Operator, ...]:
        """Return the operators in a node, the one that it is counted under first."""
        named = filter(None, map(self._named, node.stands_for.split(",")))
        found = tuple(dict.fromkeys(named))
        heaviest = min(found, key=lambda op: _weight(op.type), default=None)
        return () if heaviest is None else tuple(dict.fromkeys((heaviest, *found)))

    def _named(self, name: str) -> Operator | None:
        # Parts of an operator have more after its name: "node_conv2d/WithoutBiases".
        return self._known.get(name) or self._known.get(name.rpartition("/")[0])


def _weight(kind: str) -> int:
    """Return how an operator ranks among those that are computed at once, the first one 0."""
    kinds = list(_KINDS)
    return kinds.index(_KIND_OF[kind]) if kind in _KIND_OF else kinds.index(OperatorKind.ACTIVATION)


def _placed(operators: Sequence[Operator]) -> _Place:
    if not operators:
        return _Place()
    modules = tuple(dict.fromkeys(op.module for op in operators))
    return _Place(modules, "name", operators[0].category)


def _fill(places: dict[str, _Place], nodes: Sequence[Node]) -> None:
    """Place what stands for no operator with the node that reads it, else that it reads."""
    read_by: dict[str, list[str]] = {}
    for node in nodes:
        for name in node.reads:
            read_by.setdefault(name, []).append(node.name)
    reads = {node.name: node.reads for node in nodes}
    # The last node first, so that a chain of such nodes finds its end; then the first one first.
    for around, ordered in ((read_by, nodes[::-1]), (reads, nodes)):
        for node in ordered:
            if not places[node.name].modules:
                neighbours = (places[name] for name in around.get(node.name, ()) if name in places)
                near = next((one for one in neighbours if one.modules), _Place())
                places[node.name] = near._replace(
                    modules=near.modules[:1], placed_by="neighbour" if near.modules else ""
                )


def _kind(node: Node, operators: Sequence[Operator]) -> OperatorKind:
    """Return what a node computes; what was compiled from several, by the one it counts under."""
    own = _KIND_OF.get(node.type)
    return own or next(
        (_KIND_OF[op.type] for op in operators if op.type in _KIND_OF), OperatorKind.OTHER
    )


def samples_ns(averages_us: Sequence[int]) -> tuple[int, ...]:
    """Return what each inference took, from averages over all until then.

    Averages are whole microseconds, cut off: after n inferences their sum is known but for n
    microseconds. Of all that the single ones can have been, this is what differs least from one to
    the next: the shortest line between the bounds of the sum.

    Args:
        averages_us: after the first inference, the first two, and so on.
    """
    ends = list(enumerate(averages_us, 1))
    # The sum never falls.
    low = list(itertools.accumulate((n * average for n, average in ends), max, initial=0))
    high = [0, *(n * average + n - 1 for n, average in ends)]
    steps: list[float] = []
    at = 0.0
    while len(steps) < len(ends):
        to, slope = _straight(low, high, len(steps), at)
        at += slope * (to - len(steps))
        steps += [slope] * (to - len(steps))
    return tuple(round(_STEP_NS * step) for step in steps)


def _straight(low: Sequence[int], high: Sequence[int], start: int, at: float) -> tuple[int, float]:
    """Return how far the shortest line between two bounds goes straight on, and how steeply."""
    least, most = (-math.inf, start), (math.inf, start)
    for end in range(start + 1, len(low)):
        over, under = ((bound[end] - at) / (end - start) for bound in (low, high))
        if over > most[0]:
            return most[1], most[0]
        if under < least[0]:
            return least[1], least[0]
        least, most = max(least, (over, end)), min(most, (under, end))
    return len(low) - 1, (least[0] + most[0]) / 2


def _coarse(events: Sequence[TraceEvent]) -> Iterator[Finding]:
    """Say how much may be missing because times are whole microseconds."""
    total = sum(statistics.median(event.samples_ns) for event in events)
    lost = len(events) * _STEP_NS
    if lost > _COARSE * total:
        percent = 100 * lost / (total + lost)
        values: dict[str, str | int | float] = {"count": len(events), "percent": percent}
        yield Finding("openvino_coarse_times", Level.NOTE, values)
