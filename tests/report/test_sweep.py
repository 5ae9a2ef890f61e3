"""The report of a sweep, in all forms."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from mvdeploy.analysis.sweep import SweepView, sweep_view_of
from mvdeploy.records.sweep import Unbuilt
from mvdeploy.report import sweep as report
from mvdeploy.report.sweep.prose import summary
from mvdeploy.report.sweep.values import as_json, csv_text
from tests.saved_runs import HOSTILE
from tests.saved_sweeps import Network, sweep_view

NETWORKS = [
    Network("small 2,2,2", 1.0, 0.9, 1_000_000, 60),
    Network("large 2,2,2", 4.0, 1.2, 3_000_000, 70),
]


@pytest.fixture(scope="module")
def view() -> SweepView:
    return sweep_view(
        NETWORKS,
        speeds=(1.0, 1.1),
        failed=6,
        accuracy="top-1",
        unbuilt=(Unbuilt("large 16,2,2 64", "The patch 16 is larger than its map."),),
    )


@pytest.fixture(scope="module")
def written(view: SweepView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    paths = report.write(view, folder)
    assert {path.relative_to(folder).as_posix() for path in paths} == {
        *("report.md", "report.html", "report.json", "sweep.csv", "figures/scaling.png"),
        *(f"figures/front-{n}.png" for n in ("1-parameters", "2-macs", "3-accuracy")),
    }
    for path in paths:
        assert path.stat().st_size > 500
    return folder


def test_the_summary_answers_first(view: SweepView) -> None:
    first, *others = summary(view)
    assert first.startswith("7 of 9 cases have a latency: from 1.0")
    text = " ".join(others)
    assert "small 2,2,2: latency grows as pixels^0.9" in text
    assert "4 sizes from 64 px to 192 px, by CPU time; MACs grow as pixels^1.00, faster." in text
    assert "Three sizes are too few to tell a power law" in text
    assert "Latency against top-1: surely on the front are small 2,2,2 64 px" in text


def test_what_is_missing_is_listed_with_its_reason(view: SweepView, written: Path) -> None:
    text = (written / "report.md").read_text()
    assert "large 16,2,2 64: The patch 16 is larger than its map." in text
    assert "large 2,2,2 128 px: No kernel for that." in text


@pytest.mark.parametrize(
    ("sizes", "sessions", "said"),
    [
        ((64, 96), 4, "Two sizes always lie on a line"),
        ((64, 96), 1, "pixels^0.9"),
        ((64, 96, 128), 4, "Three sizes are too few"),
    ],
)
def test_few_sizes_are_called_so(sizes: tuple[int, ...], sessions: int, said: str) -> None:
    text = " ".join(summary(sweep_view(NETWORKS, sizes=sizes, sessions=sessions)))
    assert said in text
    assert ("(no interval)" in text) == (len(sizes) == 2 and sessions == 1)


def test_enough_sizes_are_not(view: SweepView) -> None:
    text = " ".join(summary(sweep_view(NETWORKS)))
    assert "too few" not in text and "Two sizes" not in text


def test_json_and_csv_have_the_same_numbers(view: SweepView, written: Path) -> None:
    saved = json.loads((written / "report.json").read_text())
    assert saved == json.loads(json.dumps(as_json(view)))
    rows = list(csv.DictReader(io.StringIO((written / "sweep.csv").read_text())))
    assert len(rows) == len(saved["cases"]) == 8
    for row, case in zip(rows, saved["cases"], strict=True):
        assert row["case"] == case["case"] and int(row["pixels"]) == case["pixels"]
        if case["latency_ms"] is None:
            assert row["latency_ms"] == "" and row["problem"] == "No kernel for that."
        else:
            assert float(row["latency_ms"]) == pytest.approx(case["latency_ms"])
            assert case["low_ms"] < case["latency_ms"] < case["high_ms"]
    growth = {one["network"]: one for one in saved["growth"]}
    assert growth["small 2,2,2"]["pixels"]["exponent"] == pytest.approx(0.9, abs=0.03)
    assert growth["large 2,2,2"]["pixels"]["too_few_sizes"]
    assert not math.isnan(growth["small 2,2,2"]["pixels"]["low"])


def test_the_terminal_shows_the_same(view: SweepView) -> None:
    printed = io.StringIO()
    report.show(view, Console(file=printed, width=100))
    text = printed.getvalue()
    assert "small 2,2,2 64 px" in text and "top-1" in text
    assert "time as" in text and "pixels^" in text
    assert "No kernel for that." in text


def test_ways_and_batches_have_columns_where_there_are_several() -> None:
    one = report.results(sweep_view(NETWORKS))
    assert "Way" not in {c.title for c in one.columns} and one.title == "Latency, onnx/onnxruntime"
    several = report.results(sweep_view(NETWORKS, threads=(1, 2), batches=(1, 4)))
    titles = [column.title for column in several.columns]
    assert {"Way", "batch", "per image"} <= set(titles)
    assert several.rows[1][1] == "onnx/onnxruntime 1 thread"


def test_every_way_has_a_panel_and_fronts_of_its_own(tmp_path: Path) -> None:
    view = sweep_view(NETWORKS, threads=(1, 2), batches=(1, 4))
    paths = report.write(view, tmp_path)
    assert len([path for path in paths if path.name.startswith("front-")]) == 8
    text = (tmp_path / "report.md").read_text()
    assert "onnx/onnxruntime 2 threads, batch 4" in text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = [Network("small 2,2,2"), Network("large 2,2,2", 4.0, 1.1, 2_000_000)]
    view = sweep_view(hostile, unbuilt=(Unbuilt(HOSTILE, HOSTILE),), accuracy=HOSTILE)
    cases = tuple(
        dataclasses.replace(case, network=HOSTILE, accuracy=1.0 + case.pixels)
        if case.network.startswith("large")
        else case
        for case in view.saved.cases
    )
    saved = dataclasses.replace(view.saved, cases=cases)
    found = sweep_view_of(saved, view.runs)
    report.write(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>document" not in page
    assert "\x1b" not in page + (tmp_path / "report.md").read_text() + csv_text(found)


def test_a_sweep_of_which_nothing_is_measured_has_a_report(tmp_path: Path) -> None:
    view = sweep_view(NETWORKS)
    empty = sweep_view_of(dataclasses.replace(view.saved, runs=()), ())
    assert summary(empty) == ("0 of 8 cases have a latency.",)
    paths = report.write(empty, tmp_path)
    assert not [path for path in paths if path.suffix == ".png"]
