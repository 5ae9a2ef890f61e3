"""Find out which operators of a program the events of an ETDump are.

The runtime does not say which operator of the network it runs. But the program's operators were
recorded when it was lowered, delegate by delegate in the order they run. Events are told by their
place in that order, and each has to be of a type that its operator can become.

XNNPACK merges some changes of layout with their neighbours, so that fewer operators run. An event
is then placed only if it has the same place however the others are matched. Where there is no match
no event of the delegate is placed: a wrong module would be worse.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mvdeploy.attribute import xnnpack
from mvdeploy.records import Artifact, Finding, Level, Operator, OperatorTimes, TraceEvent

_DELEGATE, _KERNEL = "DELEGATE_CALL", "OPERATOR_CALL"
_KERNEL_PREFIX = "native_call_"


class Event(NamedTuple):
    """Something that was timed.

    Attributes:
        name: of an operator inside a delegate, as its backend calls it; else of the runtime's own:
            ``DELEGATE_CALL``, ``OPERATOR_CALL``, ``native_call_…``, ``Method::execute``.
        instruction: of the program, by number.
        inner: whether it happened inside a delegate.
        ns: how long it took.
        start_ns: when it began, on the profile's own clock.
    """

    name: str
    instruction: int
    inner: bool
    ns: int
    start_ns: int = 0


@dataclasses.dataclass(frozen=True)
class _Group:
    """Events that are told together: those of one delegate, or all outside of delegates.

    Attributes:
        title: what it is called in findings.
        operators: that were recorded.
        events: positions of what ran.
        fits: whether an operator can become what runs under a name.
        can_merge: whether an operator, by the one before it, can be merged with a neighbour.
    """

    title: str
    operators: tuple[Operator, ...]
    events: tuple[int, ...]
    fits: Callable[[str, str], bool]
    can_merge: Callable[[str, str], bool]


def place(artifact: Artifact, inferences: Sequence[Sequence[Event]]) -> OperatorTimes:
    """Return an event for each operator that ran, in the order they ended.

    Args:
        artifact: has the recorded operators.
        inferences: events of each; the same but for their times.
    """
    ran = inferences[0]
    samples = [tuple(run[i].ns for run in inferences) for i in range(len(ran))]
    starts = [tuple(run[i].start_ns for run in inferences) for i in range(len(ran))]
    placed: dict[int, TraceEvent] = {}
    reasons: list[str] = []
    merged = 0
    for group in _groups(artifact.operators, ran):
        operators = _match(group, [ran[i].name for i in group.events])
        if artifact.read_from and not group.operators:
            pass  # a file of others does not tell what is in its delegates
        elif None in operators or (group.operators and not operators):
            reasons.append(_mismatch(group, ran))
        else:
            merged += len(group.operators) - len(operators)
        for i, operator in zip(group.events, operators, strict=True):
            event = _traced(artifact, ran[i], operator, samples[i])
            placed[i] = dataclasses.replace(event, starts_ns=starts[i])
    inner = [each for each, event in zip(samples, ran, strict=True) if event.inner]
    findings = (*_unmatched(placed, reasons), *_merged(merged), *xnnpack.coarse(inner))
    return OperatorTimes(tuple(placed[i] for i in sorted(placed)), findings)


def _groups(operators: Sequence[Operator], ran: Sequence[Event]) -> Iterator[_Group]:
    recorded: dict[int | None, list[Operator]] = defaultdict(list)
    for operator in operators:
        recorded[operator.delegate].append(operator)
    delegates, kernels = _calls(ran)
    numbers = {*range(len(delegates)), *(n for n in recorded if n is not None)}
    for number in sorted(numbers):
        events = delegates[number] if number < len(delegates) else ()
        title, own = f"delegate {number}", tuple(recorded[number])
        yield _Group(title, own, events, xnnpack.can_run_as, xnnpack.can_merge)
    rest = tuple(recorded[None])
    yield _Group("the rest of the program", rest, kernels, _is_kernel, lambda *operators: False)


def _calls(ran: Sequence[Event]) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Return positions of events: of each delegate's operators, and of kernels."""
    delegates: list[tuple[int, ...]] = []
    kernels: list[int] = []
    inside: list[int] = []
    kernel: int | None = None
    for i, event in enumerate(ran):
        if event.inner:
            inside.append(i)
        elif event.name.startswith(_KERNEL_PREFIX):
            kernel = i
        elif event.name == _KERNEL:
            # It ends after the kernel that it calls; a kernel of the runtime's own has no event.
            kernels.append(i if kernel is None else kernel)
            kernel = None
        elif event.name == _DELEGATE:
            # A delegate may tell nothing of what is in it.
            delegates.append(tuple(inside) or (i,))
            inside = []
    return delegates, tuple(kernels)


def _is_kernel(operator: str, name: str) -> bool:
    """``aten.native_layer_norm.out`` runs as ``native_call_native_layer_norm.out``."""
    return name == _KERNEL_PREFIX + operator.partition(".")[2]


def _match(group: _Group, names: Sequence[str]) -> list[Operator | None]:
    """Return the operator of each event; None where it is not certain."""
    operators = group.operators
    types = [op.type for op in operators]
    pairs = zip(types, ["", *types], strict=False)
    optional = [group.can_merge(own, before) for own, before in pairs]

    def fitting(numbers: set[int], name: str) -> set[int]:
        return {i for i in numbers if i < len(operators) and group.fits(operators[i].type, name)}

    # How many operators can lie before each event …
    before = [_skipping({0}, optional, 1)]
    for name in names:
        after = {i + 1 for i in fitting(before[-1], name)}
        before.append(_skipping(after, optional, 1))
    # … and, of these, with how many the rest can be matched as well.
    reached = before.pop() & {len(operators)}
    matches: list[Operator | None] = []
    for name, numbers in zip(reversed(names), reversed(before), strict=True):
        follows = {i - 1 for i in _skipping(reached, optional, -1)}
        reached = fitting(numbers & follows, name)
        matches.append(operators[min(reached)] if len(reached) == 1 else None)
    return matches[::-1]


def _skipping(numbers: set[int], optional: list[bool], step: int) -> set[int]:
    """Add the numbers of operators to be had by leaving out optional ones, forwards or back."""
    reachable = set(numbers)
    for i in range(len(optional)) if step > 0 else reversed(range(len(optional))):
        start, end = (i, i + 1) if step > 0 else (i + 1, i)
        if start in reachable and optional[i]:
            reachable.add(end)
    return reachable


def _mismatch(group: _Group, ran: Sequence[Event]) -> str:
    recorded, executed = len(group.operators), len(group.events)
    if recorded != executed:
        return f"{group.title} has {recorded} recorded operators, and {executed} ran"
    misfits = (
        f"'{ran[i].name}' ran in {group.title} where '{operator.type}' was recorded"
        for operator, i in zip(group.operators, group.events, strict=True)
        if not group.fits(operator.type, ran[i].name)
    )
    return next(misfits, "")


def _traced(
    artifact: Artifact, event: Event, operator: Operator | None, samples: tuple[int, ...]
) -> TraceEvent:
    type_ = xnnpack.type_name(event.name.removeprefix(_KERNEL_PREFIX))
    if operator is None:
        return TraceEvent(event.name, type_, xnnpack.kind_of_name(type_), (), "", samples)
    module = artifact.modules.get(operator.module)
    kind = xnnpack.kind(operator.type, module.class_name if module else "")
    modules, category = (operator.module,), operator.category
    return TraceEvent(operator.name, type_, kind, modules, "order", samples, category=category)


def _unmatched(placed: dict[int, TraceEvent], reasons: list[str]) -> Iterator[Finding]:
    if not reasons:
        return
    count = sum(not event.modules for event in placed.values())
    reason = xnnpack.first_of(reasons)
    yield Finding("unmatched_operators", Level.WARNING, {"count": count, "reason": reason})


def _merged(count: int) -> Iterator[Finding]:
    if count:
        yield Finding("merged_operators", Level.NOTE, {"count": count})
