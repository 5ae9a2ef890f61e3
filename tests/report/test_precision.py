"""Size, time and accuracy of precisions side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mvdeploy.analysis.view import View
from mvdeploy.records import Answers, CalibrationSet, Quantized
from mvdeploy.report import document
from mvdeploy.report.tables import precision
from tests.saved_runs import Story

SCALES = CalibrationSet(
    "variants of one shipped photograph", 32, "0" * 64, "percentile 99.99", True
)


def whole(story: Story, given: CalibrationSet | None) -> Story:
    """Return a story whose second case is in whole numbers."""
    first, second = story.saved.cases[:2]
    assert second.artifact is not None
    assert second.parity is not None
    artifact = dataclasses.replace(
        second.artifact, precision="int8-fast", quantized=Quantized(("conv",), calibration=given)
    )
    parity = dataclasses.replace(second.parity, answers=Answers(64, 60, 12.0))
    changed = dataclasses.replace(second, artifact=artifact, parity=parity, precision="int8-fast")
    saved = dataclasses.replace(story.saved, cases=(first, changed, *story.saved.cases[2:]))
    return dataclasses.replace(story, saved=saved)


def test_one_precision_needs_no_table(two: Story, view_for: Callable[[Story], View]) -> None:
    view = view_for(two)
    assert not precision.concerns(view)
    tables = [b.title for s in document.sections(view) for b in s.blocks if hasattr(b, "columns")]
    assert "Precisions" not in tables


def test_size_ratio_noise_and_answers_stand_side_by_side(
    two: Story, view_for: Callable[[Story], View]
) -> None:
    view = view_for(whole(two, SCALES))
    assert precision.concerns(view)
    table = precision.precisions(view)
    titles = [column.title for column in table.columns]
    first, second = (dict(zip(titles, row, strict=True)) for row in table.rows[:2])
    assert second["Precision"] == "int8-fast"
    assert second["same answer"] == "60 of 64"
    assert second["scales from"] == "32 images, percentile 99.99"
    assert second["ratio"].endswith("to A")
    assert first["ratio"] == "1"
    assert first["same answer"] != "60 of 64"
    codes = {found.finding.code for found in view.findings}
    assert "provisional_scales" in codes


def test_scales_that_are_found_need_no_images(
    two: Story, view_for: Callable[[Story], View]
) -> None:
    view = view_for(whole(two, None))
    assert "every inference" in precision.precisions(view).rows[1]
    assert "provisional_scales" not in {found.finding.code for found in view.findings}
