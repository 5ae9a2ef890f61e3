"""What profilers add to operators, in every kind of report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from mvdeploy.records import Excess
from mvdeploy.report import prose
from mvdeploy.report.renderers import json as json_renderer
from mvdeploy.report.tables import breakdown as tables
from tests.saved_runs import Story


def corrected(story: Story, ns: float, low: float, high: float) -> Story:
    """Return a story whose breakdowns were corrected by so much for each operator."""

    def changed(found: Any) -> Any:
        excess = Excess(ns, low, high, abs(ns) + 100)
        each = excess.subtracted_ns
        if not each:
            return dataclasses.replace(found, excess=excess)
        rows = tuple(
            dataclasses.replace(r, ns=max(0.0, r.ns - each), as_profiled_ns=r.ns)
            for r in found.rows
        )
        outside = found.total_ns - sum(row.ns for row in rows)
        total = sum(row.ns for row in found.rows) - sum(row.ns for row in rows)
        return dataclasses.replace(
            found, rows=rows, outside_ns=outside, excess=excess, subtracted_ns=total
        )

    changes = {slug: changed(found) for slug, found in story.breakdowns.items()}
    return dataclasses.replace(story, breakdowns=changes)


def test_shares_stand_beside_those_of_the_profile(two: Story, view_for: Any) -> None:
    view = view_for(corrected(two, 1500.0, 1400.0, 1600.0))
    (table,) = tables.as_profiled(view)
    assert [column.title for column in table.columns] == [
        "Part",
        *(f"{case}, {which}" for case in "AB" for which in ("as profiled", "corrected")),
    ]
    plain = {p.title: p.share for p in view_for(two).cases[0].breakdown.parts}
    for row in table.rows:
        assert row[1] == f"{100 * plain[row[0]]:.1f} %"
    assert [row for row in table.rows if row[1] != row[2]]
    (sentence, _) = prose.reconciliation(view)
    assert "the profiler adds 1.50 µs (1.40 to 1.60) to each of 300 operators" in sentence
    assert "ms in all, which is taken off" in sentence
    data = json.loads(json_renderer.text(view))["cases"][0]["breakdown"]
    assert data["profiler_cost"]["low_ns"] == 1400.0
    shares = [part["as_profiled_share"] for part in data["categories"].values()]
    assert sum(shares) == pytest.approx(1)


def test_a_table_has_it_where_there_are_many_cases(eight: Story, view_for: Any) -> None:
    table = tables.reconciliation(view_for(corrected(eight, -70.0, -80.0, -60.0)))
    assert "too much for each operator, µs" in [column.title for column in table.columns]
    assert "−0.07 (−0.08 to −0.06)" in table.rows[0]
    plain = tables.reconciliation(view_for(eight))
    assert len(plain.columns) == len(table.columns) - 1


def test_what_is_left_out_is_added(two: Story, view_for: Any) -> None:
    (sentence, _) = prose.reconciliation(view_for(corrected(two, -70.0, -80.0, -60.0)))
    assert "the profile lacks 0.07 µs (0.06 to 0.08) of each of 300 operators" in sentence
    assert "which is added" in sentence


def test_nothing_to_correct_and_nothing_known(two: Story, view_for: Any) -> None:
    view = view_for(corrected(two, 10.0, -50.0, 70.0))
    assert list(tables.as_profiled(view)) == []
    assert "nothing too much for an operator" in prose.reconciliation(view)[0]
    assert "profiler adds" not in prose.reconciliation(view_for(two))[0]
    data = json.loads(json_renderer.text(view_for(two)))["cases"][0]["breakdown"]
    assert data["profiler_cost"] is None
    assert "as_profiled_share" not in json.dumps(data)
