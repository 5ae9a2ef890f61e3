"""A report of a run whose cases were started anew, in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mvdeploy import report
from mvdeploy.report import document
from tests.saved_runs import Story
from tests.staged import started


@pytest.mark.parametrize("no_cold", ["", "the phone reads it before"])
def test_numbers_are_the_same_in_all_formats(two: Story, tmp_path: Path, no_cold: str) -> None:
    view = started(two, no_cold=no_cold)
    (section,) = (s for s in document.sections(view) if s.anchor == "first-run")
    said, table = section.blocks
    assert isinstance(said, document.Paragraphs) and isinstance(table, document.Table)
    assert [row[0] for row in table.rows] == [
        *("engine's import", "load", "first inference", "both together", "second inference"),
        "steady (p50)",
    ]
    report.write(view, tmp_path, ["csv", "json", "terminal", "markdown"])
    found = json.loads((tmp_path / "report.json").read_text())["cases"][0]["first_run"]
    assert (found["cold"] is None) == bool(no_cold)
    assert found["cold_unavailable"] == (no_cold or None)
    for file in ("report.txt", "report.md"):
        text = (tmp_path / file).read_text()
        assert f"{found['warm']['load']['p50_ms']:.3f}" in text
        reason = no_cold or "The file was dropped from the system's cache"
        assert reason in " ".join(text.split())
    with (tmp_path / "first_run.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len([row for row in rows if row["load_ns"]]) == len(found["starts"])
    assert rows[-1]["unavailable"] == no_cold
