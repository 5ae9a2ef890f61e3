"""The page of several runs, in every format that shows it."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import report
from mvdeploy.analysis.several import SeveralView, several_view_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.report import several
from mvdeploy.report.document import Paragraphs
from mvdeploy.report.tables.table import Table
from tests.saved_runs import breakdown, hostile, measurement, phone, troubled, two_cases


def elsewhere() -> View:
    story = two_cases()
    cases = tuple(
        dataclasses.replace(case, measurement=measurement(40 + i, 13.0 - i))
        for i, case in enumerate(story.saved.cases)
    )
    run = dataclasses.replace(
        story.saved.run, name="phone", device=dataclasses.replace(phone(), emulated=False)
    )
    parts = {"a": breakdown(13.0, attention=1.6), "b": breakdown(12.0)}
    return view_of(dataclasses.replace(story.saved, run=run, cases=cases), parts)


def troubles(**changes: Any) -> View:
    story = troubled()
    run = dataclasses.replace(story.saved.run, name="trouble", **changes)
    return view_of(dataclasses.replace(story.saved, run=run), story.breakdowns)


@pytest.fixture(scope="module")
def view() -> SeveralView:
    story = two_cases()
    return several_view_of([view_of(story.saved, story.breakdowns), elsewhere(), troubles()])


def said(view: SeveralView) -> list[str]:
    blocks = [block for section in several.sections(view) for block in section.blocks]
    return [text for block in blocks if isinstance(block, Paragraphs) for text in block.texts]


def tables(view: SeveralView) -> dict[str, Table]:
    blocks = [block for section in several.sections(view) for block in section.blocks]
    return {block.title: block for block in blocks if isinstance(block, Table)}


def test_what_is_said(view: SeveralView) -> None:
    sentences = said(view)
    assert sentences[0].startswith("4 cases of 3 runs: This machine, 2026-03-04-100000-host (AMD")
    assert sentences[0].endswith("2 of the cases are in more than one.")
    assert sentences[1].startswith("A phone against This machine, 2026-03-04-100000-host: 2.54×")
    assert "(2 slower)" in sentences[1]
    assert "unpaired" in sentences[2]
    assert sentences[3] == (
        "mobilevit_xxs 8,4,2 ÷ mobilevit_xxs 2,2,2, which took turns in each run: This machine, "
        "2026-03-04-100000-host 0.887 [0.885–0.888] (faster, by CPU time); A phone 0.887 "
        "[0.885–0.888] (faster, by CPU time)."
    )
    assert sum("emulated, and its times" in one for one in sentences) == 1
    assert "mobilevit_xs 2,2,2 on This machine, trouble: The runner was" in " ".join(sentences)


def test_tables_have_places_as_columns(view: SeveralView) -> None:
    found = tables(view)
    latency = found["Latency, ms"]
    assert [column.title for column in latency.columns][3:5] == [
        "A phone,\np50",
        "A phone,\n95 % interval",
    ]
    assert latency.rows[0][1] == "5.202" and latency.rows[0][5] == "5.877 *"
    ratios = found["Ratio of the latency to This machine, 2026-03-04-100000-host"]
    assert ratios.rows[0][1:4] == ("2.54", "2.53–2.56", "slower")
    assert ratios.rows[0][4:] == ("–", "–", "not comparable")
    shares = found["Shares of the latency by category, %"]
    assert [row[1] for row in shares.rows[:2]] == [
        "This machine, 2026-03-04-100000-host",
        "A phone",
    ]
    for row in shares.rows:
        assert sum(map(float, row[3:])) == pytest.approx(100, abs=0.5)


def in_a_page(**identity: Any) -> View:
    """The two cases in a browser on this machine: attention takes far longer there."""
    story = two_cases()
    cases = tuple(
        dataclasses.replace(
            case,
            engine="onnxruntime-web",
            measurement=dataclasses.replace(
                measurement(50 + i, 21.0 - i), engine="onnxruntime-web"
            ),
        )
        for i, case in enumerate(story.saved.cases)
    )
    made = story.saved.run.device
    profile = dataclasses.replace(made.profile, name="chrome", title="Chrome", link="browser")
    about = {**made.identity, "browser": "Chrome 156.0", **identity}
    run = dataclasses.replace(
        story.saved.run,
        name="page",
        device=dataclasses.replace(made, profile=profile, identity=about),
    )
    parts = {"a": breakdown(21.0, attention=2.0), "b": breakdown(20.0, attention=2.0)}
    return view_of(dataclasses.replace(story.saved, run=run, cases=cases), parts)


def here() -> View:
    story = two_cases()
    return view_of(story.saved, story.breakdowns)


@pytest.mark.parametrize("web_first", [False, True])
def test_pages_are_held_against_programs(web_first: bool, tmp_path: Path) -> None:
    views = [in_a_page(), here()] if web_first else [here(), in_a_page()]
    view = several_view_of(views)
    assert [len(row.cells) for row in view.rows] == [2, 2] and view.shared == view.rows
    sentences = said(view)
    # Whichever was given first, it is the page that takes longer.
    assert "Chrome (Chrome 156.0, AMD EPYC 7B13)" in sentences[0]
    assert sentences[1].startswith("Chrome against This machine: 4.1")
    assert "(2 slower)" in sentences[1]
    assert sentences[2].startswith("What the page in Chrome takes more than the program is mostly")
    assert "attention (" in sentences[2] and "of the kinds of operators, " in sentences[2]
    assert not any("This machine against Chrome" in sentence for sentence in sentences)
    found = tables(view)
    table = found["Chrome against native code, by category"]
    assert "Chrome against native code, by kind of operator" in found
    for row in ("mobilevit_xxs 2,2,2", "mobilevit_xxs 8,4,2"):
        cells = [one for one in table.rows if one[0] == row]
        assert sum(float(one[5].replace("−", "-")) for one in cells) == pytest.approx(100, abs=0.5)
        (attention,) = (one for one in cells if one[1] == "Attention")
        (convolution,) = (one for one in cells if one[1] == "Convolution")
        assert float(attention[4]) > float(convolution[4]) > 1
    differing = found["Where the same cases differ"]
    assert "engine" in {row[0] for row in differing.rows}
    report.write_several(view, tmp_path, ["csv", "json"])
    rows = list(csv.DictReader((tmp_path / "browsers.csv").read_text().splitlines()))
    body = json.loads((tmp_path / "report.json").read_text())
    assert len(rows) == len(body["browsers"]) and {row["web"] for row in rows} == {"page"}
    assert len(body["turns"]) == 2


def test_a_page_on_another_machine_is_held_against_no_program() -> None:
    view = several_view_of([here(), in_a_page(cpu="Cortex-X1")])
    assert view.against == () and view.shared == view.rows
    assert not any("native code" in title for title in tables(view))


def test_nothing_in_common(view: SeveralView) -> None:
    alone = several_view_of([elsewhere(), troubles()])
    apart = dataclasses.replace(alone, rows=tuple(r for r in alone.rows if not r.shared))
    assert "No case is in more than one of them" in said(apart)[0]
    assert not any(title.startswith("Ratio") for title in tables(apart))


def test_more_places_than_fit_beside_each_other() -> None:
    views = [troubles(created=f"2026-03-0{day}T10:00:00+00:00") for day in range(1, 8)]
    many = several_view_of(views)
    assert len(many.places) == 7
    blocks = [block for section in several.sections(many) for block in section.blocks]
    latency = [b for b in blocks if isinstance(b, Table) and b.title == "Latency, ms"]
    assert [len(table.columns) for table in latency] == [9, 7]
    assert several.title(many) == "Latency of 4 cases in 7 places"


def test_every_format_that_shows_several(view: SeveralView, tmp_path: Path) -> None:
    paths = report.write_several(view, tmp_path, ["markdown", "html", "csv", "json", "terminal"])
    names = {str(path.relative_to(tmp_path)) for path in paths}
    assert names == {
        *("report.md", "report.html", "report.json", "report.txt", "latency.csv", "shares.csv"),
        *("figures/several-latency.png", "figures/several-shares.png"),
    }
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == names
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2 and "not comparable" in page
    body = json.loads((tmp_path / "report.json").read_text())
    first, second, third = body["latencies"][:3]
    assert (first["ratio"], third["ratio"]) == (None, None)
    assert second["ratio_low"] < second["ratio"] < second["ratio_high"]
    assert second["reference"] == "2026-03-04-100000-host" and "emulated" in third["problem"]
    rows = list(csv.DictReader((tmp_path / "latency.csv").read_text().splitlines()))
    assert [float(row["ratio"]) for row in rows if row["ratio"]] == [
        row["ratio"] for row in body["latencies"] if row["ratio"]
    ]
    assert "A phone against" in (tmp_path / "report.txt").read_text()


def test_a_format_that_shows_one_run_is_refused(view: SeveralView, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The format perfetto shows one run\..*csv, html"):
        report.write_several(view, tmp_path, ["json", "perfetto"])
    assert not any(tmp_path.iterdir())


def test_texts_from_files_and_devices_stay_texts(tmp_path: Path) -> None:
    story = hostile()
    bad = view_of(story.saved, story.breakdowns)
    report.write_several(several_view_of([bad, elsewhere()]), tmp_path, ["html", "markdown", "csv"])
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "<script>document" not in text and "\x1b" not in text
    assert "\n=cmd" not in (tmp_path / "latency.csv").read_text()
