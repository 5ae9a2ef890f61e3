"""What a saved run says in Python is what its files say."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import mvdeploy
from mvdeploy.analysis.view import view_of
from mvdeploy.api import _frames
from mvdeploy.errors import CheckFailed, EngineError, UsageError
from tests.api.conftest import save
from tests.saved_runs import HOSTILE, Story


def cells(frame: pd.DataFrame) -> list[list[str]]:
    return [
        ["" if pd.isna(cell) else str(cell) for cell in row]
        for row in frame.itertuples(index=False)
    ]


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_frames_have_the_numbers_of_the_csv_files(workspace: Path) -> None:
    result = mvdeploy.load("run")
    result.report("csv", "tables")
    for name in ("comparisons", "samples"):
        head, *rows = read(workspace / "tables" / f"{name}.csv")
        frame = result.frame(name)
        assert list(frame.columns) == head
        assert rows and cells(frame) == rows
    head, *rows = read(workspace / "tables" / "latency.csv")
    assert cells(result.frame("cases")[head]) == rows


def test_the_time_of_an_inference_is_the_same_by_category_module_and_operator(two: Story) -> None:
    view = view_of(two.saved, two.breakdowns)
    sums = {
        name: _frames.frame(view, name).groupby("case")["ms"].sum()
        for name in ("categories", "kinds", "operators")
    }
    assert list(sums["kinds"].index) == ["a", "b"]
    for case in ("a", "b"):
        assert sums["categories"][case] == pytest.approx(sums["kinds"][case])
    modules, operators = (_frames.frame(view, name) for name in ("modules", "operators"))
    assert modules["operators"].sum() <= len(operators)
    first = modules[(modules["case"] == "a")].iloc[0]
    own = operators[(operators["case"] == "a") & (operators["module"] == first["module"])]
    assert own["ms"].sum() == pytest.approx(first["ms"]) and len(own) == first["operators"]
    assert set(modules["category"]) <= set(operators["category"])
    assert set(own["category"]) == {first["category"]}


@pytest.mark.parametrize("name", _frames.NAMES)
def test_columns_and_their_types_do_not_depend_on_what_there_is(
    name: str, two: Story, trouble: Story, tmp_path: Path
) -> None:
    whole = _frames.frame(view_of(two.saved, two.breakdowns), name)
    bare = dataclasses.replace(trouble.saved.run, cases=("failed", "waiting"))
    cases = tuple(case for case in trouble.saved.cases if case.slug == "failed")
    empty = mvdeploy.Result(save(Story(type(trouble.saved)(bare, cases), {}), tmp_path)).frame(name)
    assert dict(empty.dtypes) == dict(whole.dtypes)
    assert len(whole) and len(empty) == (2 if name == "cases" else 0)


def test_a_further_csv_file_is_a_frame_too(two: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    view, usual = view_of(two.saved, two.breakdowns), _frames.csv.tables
    rows = [{"case": "a", "energy_mj": 1.5, "blocks": 3, "meter": "rapl", "below": True}, {}]
    more = (("case", "energy_mj", "blocks", "meter", "below"), iter(rows))
    monkeypatch.setattr(_frames.csv, "tables", lambda view: {**usual(view), "energy": more})
    frame = _frames.frame(view, "energy")
    types = ["string", "float64", "Int64", "string", "boolean"]
    assert list(map(str, frame.dtypes)) == types
    assert frame.iloc[1].isna().all()
    with pytest.raises(UsageError, match="no table 'latency'"):
        _frames.frame(view, "latency")


def test_numbers_agree_with_the_json_report(workspace: Path) -> None:
    result = mvdeploy.load("run")
    frame = result.frame("cases").set_index("case")
    for case in result.data()["cases"]:
        assert case["latency_ms"]["p99"] == frame["p99_ms"][case["slug"]]
        assert case["latency_ms"]["p99"] == result[case["slug"]].p99_ms
        assert (case["interval"]["low_ms"], case["interval"]["high_ms"]) == result[
            case["slug"]
        ].interval_ms


def test_cases_are_found_by_letter_name_and_number(workspace: Path) -> None:
    result = mvdeploy.load(workspace / "run")
    assert len(result) == 2 and [case.key for case in result] == ["A", "B"]
    assert result["B"].slug == result[1].slug == result["b"].slug == result[:2][1].slug == "b"
    assert result.best is not None and result.best.key == "B"
    with pytest.raises(KeyError, match=r"'C'.*A \(a\), B \(b\)"):
        result["C"]


def test_a_case_without_a_latency_says_why(trouble: Story, tmp_path: Path) -> None:
    result = mvdeploy.Result(save(trouble, tmp_path))
    failed = result["failed"]
    assert failed.p50_ms is None and failed.interval_ms is None
    assert failed.problem == "The runner was killed (out of memory). Take a smaller batch."
    assert [case.slug for case in result.failed] == ["failed", "waiting"]
    assert "2 not measured" in repr(result)
    with pytest.raises(EngineError, match=r"was killed .* Take a smaller batch\."):
        result.check()


def test_wrong_outputs_are_refused(two: Story, tmp_path: Path) -> None:
    from tests.saved_runs import parity

    first, second = two.saved.cases
    wrong = dataclasses.replace(second, device_parity=parity(passed=False))
    saved = dataclasses.replace(two.saved, cases=(first, wrong))
    with pytest.raises(CheckFailed, match="computes something else"):
        mvdeploy.Result(save(Story(saved, {}), tmp_path)).check()


def test_what_notebooks_show_is_escaped_and_begins_with_the_answer(
    two: Story, workspace: Path
) -> None:
    shown = mvdeploy.load("run")._repr_html_()
    assert shown.startswith("<p>Median latency (p50): A: mobilevit_xxs 2,2,2 5.2")
    assert "<td>reliable</td>" in shown
    cases = tuple(dataclasses.replace(case, label=HOSTILE) for case in two.saved.cases)
    story = Story(dataclasses.replace(two.saved, cases=cases), {})
    hostile = mvdeploy.Result(save(story, workspace / "hostile"))
    assert "<script" not in hostile._repr_html_() and "&lt;script" in hostile._repr_html_()
    assert "\x1b" not in hostile._repr_html_() + repr(hostile)


def test_a_figure_is_shown_without_pyplot_and_leaves_nothing_behind(workspace: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure = mvdeploy.load("run").plot("timeline")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert dict(matplotlib.rcParams) == before
    figure.axes[0].set_title("mine")
    assert mvdeploy.load("run").plot("timeline").axes[0].get_title() != "mine"


def test_what_is_not_there_is_refused(workspace: Path) -> None:
    result = mvdeploy.load("run")
    with pytest.raises(UsageError, match="nothing that the figure 'modules'"):
        result.plot("modules")
    with pytest.raises(UsageError, match=r"no figure 'latencies'.*'latency'"):
        result.plot("latencies")
    with pytest.raises(UsageError, match=r"no table 'sample'.*'samples'"):
        result.frame("sample")
    with pytest.raises(UsageError, match="no report format 'pdf'"):
        result.report("pdf")
    with pytest.raises(UsageError, match="is not the folder of a run"):
        mvdeploy.load("nowhere")


def test_a_saved_run_is_read_without_torch_and_pyplot(workspace: Path) -> None:
    code = """
import sys, mvdeploy
result = mvdeploy.load("run")
result.frame("samples"), result.plot("latency"), result._repr_html_(), result.report("html")
print([name for name in ("torch", "onnx", "matplotlib.pyplot", "IPython") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, cwd=workspace
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_every_column_of_a_frame_has_a_type(two: Story) -> None:
    known = _frames._TEXTS | _frames._COUNTS | _frames._YES_NO
    view = view_of(two.saved, two.breakdowns)
    for made in _frames._MADE.values():
        columns, rows = made(view)
        for row in rows:
            for column in columns:
                value = row.get(column)
                assert column in known or value is None or isinstance(value, float), column
