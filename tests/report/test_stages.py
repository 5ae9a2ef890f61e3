"""A report of a run whose pipeline was timed, in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from mvdeploy import report
from mvdeploy.report import document, figures
from tests.saved_runs import Story
from tests.staged import MS, timed


def test_it_has_a_section_with_a_figure_and_a_table_of_the_case_that_was_timed(two: Story) -> None:
    view = timed(two)
    (section,) = (s for s in document.sections(view) if s.anchor == "pipeline")
    said, picture, table = section.blocks
    assert isinstance(said, document.Paragraphs) and len(said.texts) == 1
    assert isinstance(picture, document.Picture)
    assert isinstance(table, document.Table)
    assert [row[0] for row in table.rows[-2:]] == ["between the stages", "the whole"]
    assert len(table.rows) == len(MS) + 2
    assert table.rows[-1][-1] == "100.0 %"
    drawn = figures.image(view, picture.name, "svg")
    assert b"<svg" in drawn


def test_a_case_without_one_says_why_and_has_neither(two: Story) -> None:
    view = timed(two, sessions=(), unavailable="a phone has no Python")
    (section,) = (s for s in document.sections(view) if s.anchor == "pipeline")
    assert [type(block) for block in section.blocks] == [document.Paragraphs]


def test_numbers_are_the_same_in_all_formats(two: Story, tmp_path: Path) -> None:
    view = timed(two)
    report.write(view, tmp_path, ["csv", "json", "terminal", "markdown"])
    found = json.loads((tmp_path / "report.json").read_text())["cases"][0]["pipeline"]
    with (tmp_path / "stages.csv").open(newline="") as lines:
        rows = {row["stage"]: row for row in csv.DictReader(lines)}
    for name, stage in found["stages"].items():
        assert float(rows[name]["usual_ms"]) == stage["usual_ms"]
        assert float(rows[name]["share"]) == stage["share"]
    for file in ("report.txt", "report.md"):
        text = (tmp_path / file).read_text()
        assert f"{found['stages']['inference']['p50_ms']:.3f}" in text
        assert f"{found['usual_ms']:.3f}" in text
