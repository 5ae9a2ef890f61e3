from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mvdeploy.report.renderers import csv


def tables(view: Any, folder: Path) -> dict[str, pd.DataFrame]:
    return {p.stem: pd.read_csv(p, keep_default_na=True) for p in csv.render(view, folder)}


def test_numbers_come_back(two: Any, view_for: Any, tmp_path: Path) -> None:
    view = view_for(two)
    read = tables(view, tmp_path)
    assert list(read["latency"]["case"]) == ["a", "b"]
    assert read["latency"]["p50_ms"][0] == pytest.approx(view.cases[0].timing.wall.p50 / 1e6)
    assert read["latency"]["peak_memory_mb"][0] == pytest.approx(143.6)
    samples = read["samples"]
    assert samples["wall_ns"].dtype == "int64"
    first = samples[(samples["case"] == "a") & (samples["session"] == 2)]["wall_ns"]
    assert tuple(first) == two.saved.cases[0].measurement.sessions[1].steady.wall_ns
    assert len(read["operators"]) == 600
    assert list(read["operators"]["position"][:3]) == [1, 2, 3]


def test_parts_add_up(two: Any, view_for: Any, tmp_path: Path) -> None:
    view = view_for(two)
    rows = tables(view, tmp_path)["breakdown"]
    for grouping in ("category", "kind"):
        mine = rows[(rows["case"] == "a") & (rows["grouping"] == grouping)]
        assert mine["share"].sum() == pytest.approx(1)
    assert set(rows["time_kind"]) == {"measured"}


def test_cases_without_a_latency_have_a_row(trouble: Any, view_for: Any, tmp_path: Path) -> None:
    rows = tables(view_for(trouble), tmp_path)["latency"].set_index("case")
    assert list(rows.index) == ["failed", "drifting", "plain", "waiting"]
    assert rows.loc["failed", "problem"] == "The runner was killed (out of memory)."
    assert pd.isna(rows.loc["failed", "p50_ms"])


def test_text_is_no_formula_and_no_line_break(
    hostile_story: Any, view_for: Any, tmp_path: Path
) -> None:
    read = tables(view_for(hostile_story), tmp_path)
    assert read["latency"]["label"][1].startswith("'=cmd|")
    assert len(read["latency"]) == 3
    assert not any("\x1b" in (tmp_path / f"{name}.csv").read_text() for name in read)
