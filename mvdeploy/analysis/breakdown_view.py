"""Where one case's latency goes, in the forms that reports show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from mvdeploy.records import (
    Artifact,
    Breakdown,
    BreakdownRow,
    Category,
    Excess,
    OperatorKind,
    TimeKind,
)
from mvdeploy.text_format import clean

UNPLACED = "unplaced"
OUTSIDE = "outside"

UNATTRIBUTED_TITLES = {
    UNPLACED: "Unattributed: unplaced operators",
    OUTSIDE: "Unattributed: outside operators (engine dispatch)",
}
"""The parts of a latency that are in no category, in the order reports show them."""

NETWORK = "(the network itself)"
NOT_PLACED = "(not placed)"
NO_CATEGORY = "–"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the latency.

    Attributes:
        key: a category's id, an operator kind's value, ``unplaced`` or ``outside``.
        title: as reports print it.
        ns: nanoseconds of one inference.
        share: of the latency.
        as_profiled: share that the profile has; None where nothing was corrected.
    """

    key: str
    title: str
    ns: float
    share: float
    as_profiled: float | None = None


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
class BreakdownView:
    """Where one case's latency goes.

    Attributes:
        time_kind: whether the operator times are measured or estimated.
        total_ns: the latency that is divided.
        parts: categories and the unattributed rest; they add up to the latency. Kinds of operators,
            where nothing in the run has a category.
        kinds: kinds of operators and the time outside operators; they add up to the latency.
        operators: every operator, largest first.
        modules: every module path with operators, largest first.
        attributed_share: share of the operator time that is attributed to a module and a category;
            to a module alone where nothing has a category.
        operator_share: sum of operators ÷ latency, both from the profiled job.
        profiler_overhead: latency with ÷ without the profiler, minus 1.
        scale: factor from the profiled job's operator times to those shown.
        excess: what the profile has too much for each operator; None where that was not measured.
        subtracted_ns: what was taken off all operators for it; negative where it was added.
        by_kind: nothing in the run has a category.
    """

    time_kind: TimeKind
    total_ns: float
    parts: tuple[Part, ...]
    kinds: tuple[Part, ...]
    operators: tuple[OperatorShare, ...]
    modules: tuple[ModuleShare, ...]
    attributed_share: float
    operator_share: float
    profiler_overhead: float
    scale: float
    excess: Excess | None = None
    subtracted_ns: float = 0.0
    by_kind: bool = False


KINDS = {str(kind): str(kind) for kind in OperatorKind}
"""What latencies are divided into where nothing has a category."""


def category_titles(
    artifacts: Iterable[Artifact], breakdowns: Iterable[Breakdown]
) -> dict[str, str]:
    """Return the categories of a run with their titles, in the order reports show them.

    Files of others have none, unless it is known which network they came from; in a run of nothing
    else, kinds of operators take their place.

    Titles are those that the artifacts carry: what declared a category need not be installed here.
    """
    known = list(artifacts)
    carried = {
        category: title for artifact in known for category, title in artifact.categories.items()
    }
    rows = [row.category for breakdown in breakdowns for row in breakdown.rows if row.category]
    if known and all(artifact.read_from for artifact in known) and not (carried or rows):
        return dict(KINDS)
    ordered = Category.ordered((*carried, *rows))
    return {str(c): clean(carried.get(c, c.heading)) for c in ordered}


def breakdown_view_of(breakdown: Breakdown, categories: Mapping[str, str]) -> BreakdownView:
    """Arrange a breakdown for reports.

    Args:
        breakdown: of one case.
        categories: those of the whole run with their titles, as `category_titles` returns them.
    """
    by_kind = dict(categories) == KINDS
    kinds = _parts(breakdown, _kinds)
    parts = kinds if by_kind else _parts(breakdown, lambda b: _categories(b, categories))
    return BreakdownView(
        time_kind=breakdown.time_kind,
        total_ns=breakdown.total_ns,
        parts=parts,
        kinds=kinds,
        operators=_operators(breakdown, categories),
        modules=_modules(breakdown, categories),
        attributed_share=breakdown.placed_share if by_kind else breakdown.attributed_share,
        by_kind=by_kind,
        operator_share=breakdown.operator_share,
        profiler_overhead=breakdown.profiler_overhead,
        scale=breakdown.scale,
        excess=breakdown.excess,
        subtracted_ns=breakdown.subtracted_ns,
    )


def _parts(
    breakdown: Breakdown, divided: Callable[[Breakdown], list[tuple[str, str, float]]]
) -> tuple[Part, ...]:
    """Return the parts of a latency, that outside of operators last."""
    total, as_profiled = breakdown.total_ns, breakdown.as_profiled

    def every(of: Breakdown) -> list[tuple[str, str, float]]:
        return [*divided(of), (OUTSIDE, UNATTRIBUTED_TITLES[OUTSIDE], of.outside_ns)]

    shares = [_share(ns, total) for _, _, ns in every(as_profiled)] if as_profiled else None
    return tuple(
        Part(*part, _share(part[2], total), shares[i] if shares else None)
        for i, part in enumerate(every(breakdown))
    )


def _categories(
    breakdown: Breakdown, categories: Mapping[str, str]
) -> list[tuple[str, str, float]]:
    times = breakdown.by_category()
    parts = [(key, title, times.get(Category(key), 0.0)) for key, title in categories.items()]
    return [*parts, (UNPLACED, UNATTRIBUTED_TITLES[UNPLACED], breakdown.unplaced_ns)]


def _kinds(breakdown: Breakdown) -> list[tuple[str, str, float]]:
    return [(str(kind), str(kind), ns) for kind, ns in breakdown.by_kind().items()]


def _share(ns: float, total: float) -> float:
    return ns / total if total else 0.0


def _operators(breakdown: Breakdown, categories: Mapping[str, str]) -> tuple[OperatorShare, ...]:
    total = breakdown.total_ns
    operators = [
        OperatorShare(i, row, _title(row, categories), _module(row), _share(row.ns, total))
        for i, row in enumerate(breakdown.rows, 1)
    ]
    return tuple(sorted(operators, key=lambda o: -o.row.ns))


def _title(row: BreakdownRow, categories: Mapping[str, str]) -> str:
    if row.category is None:
        return NO_CATEGORY if dict(categories) == KINDS else "Unattributed"
    return categories[row.category]


def _module(row: BreakdownRow) -> str:
    if not row.modules:
        return NOT_PLACED
    others = len(row.modules) - 1
    return (row.modules[0] or NETWORK) + (f" (+{others} fused)" if others else "")


def _modules(breakdown: Breakdown, categories: Mapping[str, str]) -> tuple[ModuleShare, ...]:
    placed = [row for row in breakdown.rows if row.modules]
    operators: dict[str, int] = {}
    titles: dict[str, str] = {}
    for row in placed:
        operators[row.modules[0]] = operators.get(row.modules[0], 0) + 1
        titles.setdefault(row.modules[0], _title(row, categories))
    return tuple(
        ModuleShare(
            path or NETWORK, titles[path], operators[path], ns, _share(ns, breakdown.total_ns)
        )
        for path, ns in breakdown.by_module().items()
    )
