from __future__ import annotations

import math

import pytest

from mvdeploy.records import Breakdown, BreakdownRow, Category, OperatorKind, TimeKind


def row(ns: float, category: Category | None, *modules: str, name: str = "n") -> BreakdownRow:
    kind = OperatorKind.CONV if category is Category.CONVOLUTION else OperatorKind.MATMUL
    return BreakdownRow(name, "T", kind, category, modules, ns)


def breakdown(total: float, outside: float, *rows: BreakdownRow) -> Breakdown:
    return Breakdown(TimeKind.MEASURED, total, rows, outside, 1.0, 0.0, 1.0)


ROWS = (
    row(10, Category.CONVOLUTION, "a"),
    row(20, Category.FFN, "b", "a"),
    row(5, None),
    row(25, Category.FFN, "c"),
    row(3, Category.CONVOLUTION, "a"),
    row(2, None, "d"),
)


def test_sums() -> None:
    found = breakdown(100, 35, *ROWS)
    assert found.operators_ns == 65
    assert found.unplaced_ns == 7
    assert found.unattributed_ns == 42
    assert found.attributed_share == pytest.approx(1 - 7 / 65)
    assert found.fused_across_ns == 20
    assert found.by_category() == {
        Category.PRE_AND_POST: 0,
        Category.CONVOLUTION: 13,
        Category.FOLD: 0,
        Category.ATTENTION: 0,
        Category.FFN: 45,
    }
    assert found.by_kind()[OperatorKind.CONV] == 13
    assert found.by_kind()[OperatorKind.MATMUL] == 52
    assert list(found.by_module().items()) == [("c", 25), ("b", 20), ("a", 13), ("d", 2)]


def test_without_operators_nothing_is_covered() -> None:
    assert breakdown(10, 10).attributed_share == 0


@pytest.mark.parametrize(
    ("total", "outside"), [(100, 34), (100, 35.1), (100, math.nan), (math.nan, 35), (math.inf, 35)]
)
def test_time_that_does_not_add_up_is_refused(total: float, outside: float) -> None:
    with pytest.raises(ValueError, match="not conserved"):
        breakdown(total, outside, *ROWS)


def test_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        breakdown(64, -1, *ROWS)
    with pytest.raises(ValueError, match="negative"):
        breakdown(64, 0, *ROWS, row(-1, None))


def test_categories_of_its_own_come_after_the_usual() -> None:
    rows = (row(3, Category("neck"), "n"), row(4, Category("box"), "b"), row(5, Category.FFN, "f"))
    found = Breakdown(TimeKind.MEASURED, 12.0, rows, 0.0, 1.0, 0.0, 1.0)
    assert list(found.by_category().items())[4:] == [("ffn", 5), ("neck", 3), ("box", 4)]
    assert found.attributed_share == 1
