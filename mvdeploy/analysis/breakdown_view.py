"""Where one case's latency goes, in the forms that reports show."""

from __future__ import annotations

import dataclasses

from mvdeploy.records import Breakdown, BreakdownRow, Category, TimeKind

UNPLACED = "unplaced"
OUTSIDE = "outside"

PART_TITLES = {
    **{str(category): category.heading for category in Category},
    UNPLACED: "Unattributed: unplaced operators",
    OUTSIDE: "Unattributed: outside operators (engine dispatch)",
}
"""Every part that a latency is divided into, in the order reports show them."""

NETWORK = "(the network itself)"
NOT_PLACED = "(not placed)"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the latency.

    Attributes:
        key: a category's value, an operator kind's value, ``unplaced`` or ``outside``.
        title: as reports print it.
        ns: nanoseconds of one inference.
        share: of the latency.
    """

    key: str
    title: str
    ns: float
    share: float


@dataclasses.dataclass(frozen=True)
class OperatorShare:
    """One operator of the engine's program.

    Attributes:
        position: in execution order, from 1.
        row: the operator.
        category: title of its category.
        module: the module it is counted under, with the number of others it was fused with.
        share: of the latency.
    """

    position: int
    row: BreakdownRow
    category: str
    module: str
    share: float


@dataclasses.dataclass(frozen=True)
class ModuleShare:
    """All operators counted under one module path.

    Attributes:
        path: dotted.
        category: title of its category.
        operators: how many.
        ns: nanoseconds of one inference.
        share: of the latency.
    """

    path: str
    category: str
    operators: int
    ns: float
    share: float


@dataclasses.dataclass(frozen=True)
class Shares:
    """Where one case's latency goes.

    Attributes:
        time_kind: whether the operator times are measured or estimated.
        total_ns: the latency that is divided.
        parts: categories and the unattributed rest; they add up to the latency.
        kinds: kinds of operators and the time outside operators; they add up to the latency.
        operators: every operator, largest first.
        modules: every module path with operators, largest first.
        coverage: share of the operator time that is attributed to a module and a category.
        operator_share: sum of operators ÷ latency, both from the profiled job.
        profiler_overhead: latency with ÷ without the profiler, minus 1.
        scale: factor from the profiled job's operator times to those shown.
    """

    time_kind: TimeKind
    total_ns: float
    parts: tuple[Part, ...]
    kinds: tuple[Part, ...]
    operators: tuple[OperatorShare, ...]
    modules: tuple[ModuleShare, ...]
    coverage: float
    operator_share: float
    profiler_overhead: float
    scale: float

    @property
    def reconciliation(self) -> str:
        """How the operator times meet the latency, on one line."""
        return (
            f"sum of operators ÷ latency = {self.operator_share:.2f}, "
            f"profiled ÷ plain = {1 + self.profiler_overhead:.2f}, "
            f"{100 * self.coverage:.2f} % of operator time attributed, {self.time_kind}"
        )


def shares_of(breakdown: Breakdown) -> Shares:
    """Arrange a breakdown for reports."""
    total = breakdown.total_ns
    categories = {str(c): ns for c, ns in breakdown.by_category().items()}
    parts = {**categories, UNPLACED: breakdown.unplaced_ns, OUTSIDE: breakdown.outside_ns}
    kinds = {str(k): ns for k, ns in breakdown.by_kind().items()}
    return Shares(
        time_kind=breakdown.time_kind,
        total_ns=total,
        parts=tuple(_part(key, PART_TITLES[key], ns, total) for key, ns in parts.items()),
        kinds=tuple(
            _part(key, PART_TITLES.get(key, key), ns, total)
            for key, ns in {**kinds, OUTSIDE: breakdown.outside_ns}.items()
        ),
        operators=_operators(breakdown),
        modules=_modules(breakdown),
        coverage=breakdown.coverage,
        operator_share=breakdown.operator_share,
        profiler_overhead=breakdown.profiler_overhead,
        scale=breakdown.scale,
    )


def _part(key: str, title: str, ns: float, total: float) -> Part:
    return Part(key, title, ns, _share(ns, total))


def _share(ns: float, total: float) -> float:
    return ns / total if total else 0.0


def _operators(breakdown: Breakdown) -> tuple[OperatorShare, ...]:
    found = [
        OperatorShare(i, row, _category(row), _module(row), _share(row.ns, breakdown.total_ns))
        for i, row in enumerate(breakdown.rows, 1)
    ]
    return tuple(sorted(found, key=lambda o: -o.row.ns))


def _category(row: BreakdownRow) -> str:
    return row.category.heading if row.category else "Unattributed"


def _module(row: BreakdownRow) -> str:
    if not row.modules:
        return NOT_PLACED
    others = len(row.modules) - 1
    return (row.modules[0] or NETWORK) + (f" (+{others} fused)" if others else "")


def _modules(breakdown: Breakdown) -> tuple[ModuleShare, ...]:
    placed = [row for row in breakdown.rows if row.modules]
    operators: dict[str, int] = {}
    categories: dict[str, str] = {}
    for row in placed:
        operators[row.modules[0]] = operators.get(row.modules[0], 0) + 1
        categories.setdefault(row.modules[0], _category(row))
    return tuple(
        ModuleShare(
            path or NETWORK, categories[path], operators[path], ns, _share(ns, breakdown.total_ns)
        )
        for path, ns in breakdown.by_module().items()
    )
