"""A run without a pause in every format: what is said of a step, of its cause, of gaps and ends."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest

from mvdeploy import report
from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Gap, Moment, SavedRun, Sustained
from mvdeploy.report import document, figures, sustained
from mvdeploy.report.figures import _style
from mvdeploy.report.renderers.json import as_json
from mvdeploy.stats import sketch
from tests.analysis.test_sustained import STEP, busy, cooled, moments, series
from tests.report.test_figures import demand_apart, drawn
from tests.saved_runs import Story, two_cases

PLAN_FIELDS = {"sustained_s": 180.0, "interval_s": 10.0, "profile_iterations": 0}


def record(levels, taken: tuple[Moment, ...] = (), seed: int = 0, **fields) -> Sustained:
    known = Sustained("now", 180.0, 10.0, sketch.ACCURACY, False, series(levels, seed), taken)
    return dataclasses.replace(known, **fields)


def run_of(*records: Sustained | None, threads: int = 1) -> View:
    story: Story = two_cases()
    saved = story.saved
    cases = tuple(
        dataclasses.replace(
            case,
            sustained=known,
            trace=None,
            threads=threads,
            measurement=case.measurement and dataclasses.replace(case.measurement, sessions=()),
        )
        for case, known in zip(saved.cases, records, strict=False)
    )
    plan = dataclasses.replace(saved.run.plan, **PLAN_FIELDS)
    run = dataclasses.replace(saved.run, plan=plan, cases=tuple(case.slug for case in cases))
    return view_of(SavedRun(run, cases), {})


def text(view: View) -> str:
    return " ".join(sustained.sentences(view))


def test_a_step_is_said_with_its_date_its_size_and_what_else_changed():
    said = text(run_of(record(STEP, moments(18, cooled))))
    assert "steady from 90 s on, p50 is 5.998 ms" in said
    assert "in the first 60 s these were 3.9" in said
    found = re.search(
        r"90 s after the beginning \(or up to 10 s earlier\) .* take (\S+) times", said
    )
    assert found and float(found[1]) == pytest.approx(1.5, abs=0.03)
    assert "thermal status none before, severe after" in said
    assert "So a device does that throttles." in said


@pytest.mark.parametrize(
    ("taken", "threads", "words"),
    [
        (moments(18, busy), 1, "time which other programs took, not throttling"),
        (moments(18, lambda i: {**busy(i), **cooled(i)}), 1, "which of them it was cannot be told"),
        (moments(18, lambda _: {"cpu_khz": ("1",)}), 1, "None of the readings"),
        ((), 2, "so why is not known"),
        (
            moments(18, lambda i: {"cpu_khz": ("2000000" if i < 9 else "1000000",)}),
            1,
            "Nothing tells whether heat is why",
        ),
    ],
)
def test_what_is_not_throttling_is_not_called_so(taken, threads, words):
    said = text(run_of(record(STEP, taken), threads=threads))
    assert words in said and "So a device does that throttles" not in said


def test_without_a_change_that_is_said():
    said = text(run_of(record([4.0] * 18)))
    assert (
        "p50 stays at 3.997 ms" in said
        and "no change was found in 18 intervals; one by 5 % or more" in said
    )
    assert "told from noise with 12 intervals or more, and there are 4" in text(
        run_of(record([4.0] * 4))
    )


def test_gaps_and_an_early_end_are_said():
    gaps = (Gap(60.0, 14.0, "The cable was pulled."), Gap(120.0, 0.0, "It is gone."))
    said = text(run_of(record([4.0] * 12, gaps=gaps, ended="It is gone.")))
    assert "the device was gone from 60 s to 74 s (The cable was pulled)" in said
    assert "the device was gone from 120 s on (It is gone)" in said
    assert "it ended after 120 s of 180 s: It is gone." in said


def test_cases_that_change_places_are_said():
    throttles, steady = record([4.0] * 9 + [7.0] * 9), record([5.0] * 18, seed=1)
    assert "from A < B to B < A: B is faster than A in the end" in text(run_of(throttles, steady))
    assert "the same at first and in the end: A < B" in text(run_of(record([4.0] * 18), steady))


def test_the_report_has_load_in_the_place_of_latency(tmp_path: Path):
    view = run_of(record(STEP, moments(18, cooled)), record([5.0] * 18, seed=1))
    assert "under sustained load on" in document.title(view)
    anchors = [section.anchor for section in document.sections(view)]
    assert "sustained" in anchors and "latency" not in anchors and "breakdown" not in anchors
    paths = report.write(view, tmp_path, ["markdown", "html", "csv", "terminal", "json"])
    assert {"intervals.csv", "report.md", "report.html", "report.txt"} <= {p.name for p in paths}
    page = (tmp_path / "report.md").read_text()
    assert "### Changes of the latency" in page and "has no latency" not in page
    assert "→" in page


def test_intervals_have_a_row_each_with_the_readings_in_it(tmp_path: Path):
    view = run_of(record(STEP, moments(18, cooled)))
    report.write(view, tmp_path, ["csv"])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "intervals.csv").read_text())))
    assert len(rows) == 18
    assert [rows[0]["level"], rows[-1]["level"]] == ["1", "2"]
    assert [rows[8]["thermal_status"], rows[9]["thermal_status"]] == ["none", "severe"]
    assert float(rows[9]["clock_mhz"]) == 1050.0 and rows[9]["clock_limit_mhz"] == ""


def test_programs_get_the_change_with_its_cause():
    (found,) = as_json(run_of(record(STEP, moments(18, cooled))))["sustained"]
    (change,) = found["changes"]
    assert found["slows_after_s"] == 90.0 and change["cause"] == "heat"
    assert change["evidence"][0]["of"] in ("heat", "clock")
    assert found["steady_to_first"]["ratio"] == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("taken", [moments(18, cooled), (), moments(18, lambda _: {"skin_c": 40})])
def test_the_figure_is_drawn_whatever_a_device_tells(taken):
    view = run_of(record(STEP, taken, gaps=(Gap(60.0, 5.0, "x"),)))
    assert figures.image(view, "sustained", "png").startswith(b"\x89PNG")
    with _style.applied(view):
        demand_apart(drawn(view, "sustained"))


def test_two_cases_are_drawn_above_each_other():
    view = run_of(record(STEP, moments(18, cooled)), record([0.5] * 18, seed=1))
    with _style.applied(view):
        made = drawn(view, "sustained")
        demand_apart(made)
    titles = [axes.get_title(loc="left") for axes in made.axes]
    assert [title[:2] for title in titles if title] == ["A:", "B:"]


def test_a_case_that_has_nothing_yet_says_why():
    view = run_of(record([4.0] * 18), None)
    assert [found.case.key for found in view.sustained] == ["A"]
    said = " ".join(
        t
        for s in document.sections(view)
        for b in s.blocks
        if isinstance(b, document.Paragraphs)
        for t in b.texts
    )
    assert "has no latency" in said


def test_what_has_not_settled_is_not_called_steady():
    rising = [4.0] * 9 + [6.0 * 1.06**i for i in range(9)]
    said = text(run_of(record(rising)))
    assert "steady from" not in said and "not steady; from 90 s on p50 is" in said
