"""The report of a study: what is published and what was measured are told apart everywhere."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mvdeploy.analysis.study import StudyView, study_view_of
from mvdeploy.analysis.view import view_of
from mvdeploy.records import Breakdown, TimeKind
from mvdeploy.records.study import Published, Study, StudyPart, StudyRow, StudyRun, StudyWay
from mvdeploy.report import study as report
from mvdeploy.report.study.prose import summary
from mvdeploy.report.study.tables import tables
from mvdeploy.report.study.values import json_text, values
from tests.saved_runs import HOSTILE, two_cases

PUBLISHED = (
    Published("latency", "Abacus", "ms", "an abacus, batch 1", "table 1", {"A": 200, "B": 100}),
    Published("latency", "Here", "ms", "this machine", "table 2", {"A": 5, "B": 9}, device="host"),
    Published("accuracy", "Top-1", "%", "photographs", "table 1", {"A": 70, "B": 71}),
    Published("parameters", "Parameters", "M", "as they count", "table 1", {"A": 1.3}),
    Published("share", "FFN", "%", "an abacus", "table 3", {"A": 60, "B": 50}, part="FFN"),
    Published("share", "Sum", "%", "an abacus", "table 3", {"all": 90}, part="Both"),
)
STUDY = Study(
    title="Two patch settings",
    paper="A paper, table 1",
    about="Large patches are faster",
    reference="A",
    rows=(
        StudyRow("A", model="mobilevit_xxs"),
        StudyRow("B", model="mobilevit_xxs", note="large patches"),
        StudyRow("C", model="mobilevit_xxs"),
        StudyRow("all"),
    ),
    published=PUBLISHED,
    divided="category",
    parts=(
        StudyPart("Attention", ("attention",)),
        StudyPart("FFN", ("ffn",)),
        StudyPart("Both", ("attention", "ffn")),
    ),
    limit_ms=33.0,
    limit_title="real time, 33 ms",
)


def view_of_study(
    study: Study = STUDY, breakdowns: dict[str, Breakdown] | None = None
) -> StudyView:
    story = two_cases()
    run = view_of(story.saved, breakdowns or story.breakdowns)
    a, b, c, *_ = (row.name for row in study.rows)
    cases = {a: ("a",), b: ("b",), c: ("c",)}
    ways = (StudyWay("onnx", "fp32"),)
    saved = StudyRun("s", study, "2026", {"mvdeploy": "0"}, ways, cases, ("run-1",))
    return study_view_of(saved, (run,))


@pytest.fixture(scope="module")
def view() -> StudyView:
    return view_of_study()


@pytest.fixture(scope="module")
def written(view: StudyView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    paths = report.write(view, folder)
    assert {path.relative_to(folder).as_posix() for path in paths} == {
        *("report.md", "report.html", "study.csv", "figures/accuracy-onnx-fp32.png"),
        "figures/shares-onnx-fp32.png",
    }
    return folder


def test_every_column_says_whose_its_numbers_are(view: StudyView) -> None:
    for table in tables(view, view.ways[0]):
        for column in table.columns:
            if column.numeric:
                assert re.search(r"\((measured|published)\)|measured ÷ published", column.title)


def test_published_and_measured_stand_in_one_row(view: StudyView) -> None:
    latencies, shares = tables(view, view.ways[0])
    titles = [column.title.replace("\n", " ") for column in latencies.columns]
    a, b, c = (dict(zip(titles, row, strict=True)) for row in latencies.rows)
    assert (a["Abacus, ms (published)"], a["Abacus ÷ reference (published)"]) == ("200", "1.00")
    assert (b["Abacus, ms (published)"], b["Abacus ÷ reference (published)"]) == ("100", "0.50")
    assert re.fullmatch(r"0\.8\d\d \(0\.\d+–0\.\d+\)", b["÷ reference (measured)"])
    assert float(b["measured ÷ published, Here"]) == pytest.approx(0.5, abs=0.06)
    assert "measured ÷ published, Abacus" not in titles  # that was another device
    assert (a["Parameters, M (measured)"], a["Parameters, M (published)"]) == ("1.27", "1.3")
    assert set(list(c.values())[1:]) == {"–"}
    assert "B: large patches." in latencies.note
    assert [row[0] for row in shares.rows] == ["A", "B", "all"]


def test_the_summary_says_what_agrees_and_what_does_not(view: StudyView) -> None:
    text = " ".join(summary(view))
    assert text.startswith("Published: Large patches are faster.")
    assert "1 of 1 pair of rows have the same order as in the latency published" in text
    assert "0 of 1 pair of rows (not B before A) have the same order" in text
    assert re.search(r"Ratios to A depart most at B: measured ÷ published 1\.7\d", text)
    assert re.search(
        r"FFN: the measured share of what is attributed departs most .* at [AB] \(−\d+\.\d points",
        text,
    )
    assert re.search(
        r"Both, of what is attributed: measured \d.* of 2 rows, median .*; published 90 % for all",
        text,
    )
    assert "Measured latency and published Top-1: too few rows to correlate (2)." in text
    assert "more accurate than B." in text


def test_every_number_says_what_it_is(view: StudyView, written: Path) -> None:
    frame = pd.read_csv(written / "study.csv")
    assert len(frame) == len(values(view))
    assert set(frame.kind) == {"measured", "published"}
    published = frame[frame.kind == "published"]
    assert published.source.notna().all() and published.device.notna().all()
    assert set(frame[frame.quantity == "accuracy"].kind) == {"published"}
    read = json.loads(json_text(view))
    assert len(read["values"]) == len(frame)
    assert read["agreement"][1]["contradicted"] == [["B", "A"]]
    assert [one["row"] for one in read["missing"]] == ["C"]


def test_pages_have_tables_sources_and_the_figure(written: Path) -> None:
    markdown = (written / "report.md").read_text()
    assert "figures/accuracy-onnx-fp32.png" in markdown
    assert "C: It has not been measured yet." in markdown
    assert "| Abacus, ms | latency | an abacus, batch 1 | table 1 |" in markdown
    html = (written / "report.html").read_text()
    assert "data:image/svg+xml" in html and "Published numbers" in html


def test_the_same_study_gives_the_same_files(
    view: StudyView, written: Path, tmp_path: Path
) -> None:
    for path in report.write(view, tmp_path):
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_of_any_width_shows_it(view: StudyView, width: int) -> None:
    printed = io.StringIO()
    report.show(view, Console(file=printed, width=width))
    assert "(published)" in printed.getvalue().replace("\u00a0", " ")
    assert max(map(len, printed.getvalue().splitlines())) <= width


def test_names_are_names_whatever_is_in_them(tmp_path: Path) -> None:
    names = {"A": f"A{HOSTILE}", "B": "=1+1", "C": "C", "all": "全部"}
    rows = tuple(dataclasses.replace(row, name=names[row.name]) for row in STUDY.rows)
    numbers = tuple(
        dataclasses.replace(
            one, where=HOSTILE, values={names[row]: value for row, value in one.values.items()}
        )
        for one in PUBLISHED
    )
    study = dataclasses.replace(STUDY, rows=rows, published=numbers, reference=names["A"])
    report.write(view_of_study(study), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<script>") == page.count("<script") - 1 == 2  # the page's own, and data
    assert "<script>" not in (tmp_path / "report.md").read_text()
    assert "\n=1+1," not in (tmp_path / "study.csv").read_text()
    assert "\x1b" not in "".join(p.read_text() for p in tmp_path.glob("report.*"))


def test_estimated_shares_are_called_so() -> None:
    story = two_cases()
    estimated = {
        slug: dataclasses.replace(one, time_kind=TimeKind.ESTIMATED)
        for slug, one in story.breakdowns.items()
    }
    seen = view_of_study(breakdowns=estimated)
    _, shares = tables(seen, seen.ways[0])
    assert "Attention\n(estimated)" in [column.title for column in shares.columns]
    kinds = {one["kind"] for one in values(seen) if one["quantity"] == "share"}
    assert kinds == {"estimated", "published"}


def test_the_charts_tell_what_is_measured_and_what_is_published(
    browser: Any, tmp_path: Path
) -> None:
    report.write(view_of_study(dataclasses.replace(STUDY, paper=HOSTILE)), tmp_path)
    browser.get((tmp_path / "report.html").as_uri())
    assert browser.title != "owned"
    told: list[list[str]] = []
    for plot in browser.find_elements(By.CSS_SELECTOR, ".plot"):
        readout = plot.find_element(By.XPATH, "following-sibling::p")
        seen: list[str] = []
        plot.send_keys(Keys.HOME)
        while readout.text not in seen:
            seen.append(readout.text)
            plot.send_keys(Keys.ARROW_RIGHT)
        told.append(seen)
    accuracy, shares = told
    assert any(re.match(r"A; [\d.]+ ms, measured; Top-1 70 %, published", one) for one in accuracy)
    assert "A; 5 ms, published: Here, this machine; Top-1 70 %, published" in accuracy
    assert "A, published; FFN; 60.0 %" in shares
    page = (tmp_path / "study.csv").read_text("utf-8")
    measured = {one.split("; ")[2] for one in shares if one.startswith("A, measured; FFN")}
    values = [
        float(line.split(",")[4]) for line in page.splitlines() if "A,measured,share,FFN" in line
    ]
    assert measured == {f"{values[0]:.1f} %"}


def test_numbers_beside_a_name_are_sorted_as_numbers(browser: Any) -> None:
    page = Path(__file__).parents[2] / "reports" / "figure8-host" / "report.html"
    browser.get(page.as_uri())
    heads = browser.find_elements(By.CSS_SELECTOR, "th button")
    (head,) = [one for one in heads if one.text.startswith("Accuracy")]
    head.click()
    rows = browser.find_elements(By.CSS_SELECTOR, "#results-1 tbody tr")
    cells = [row.find_elements(By.TAG_NAME, "td")[-1].text for row in rows]
    numbers = [float(cell.split()[-1]) for cell in cells if cell != "–"]
    assert cells[0].startswith("mAP") and cells[len(numbers) - 1].startswith("Top-1")
    assert numbers == sorted(numbers)
