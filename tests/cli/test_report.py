"""``mvdeploy report``, and what is shown at the end of a measurement."""

from __future__ import annotations

import dataclasses
import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mvdeploy.analysis.gates import parse
from mvdeploy.cli import measuring
from mvdeploy.cli.acceptance import Demands
from mvdeploy.cli.commands.report import command
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import bench
from mvdeploy.pipeline import report as pipeline_report
from mvdeploy.records import ModelSpec
from mvdeploy.records.run import load_run, save_case, save_comparisons, save_run
from mvdeploy.report import figures
from tests.saved_runs import measurement, phone, two_cases
from tests.warm import Server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved run; figures have tests of their own."""
    monkeypatch.setattr(figures, "image", lambda view, name, kind: f"{name} {kind}".encode())
    saved = two_cases().saved
    save_run(saved.run, tmp_path)
    for case in saved.cases:
        save_case(case, tmp_path)
    save_comparisons(saved.comparisons, tmp_path)
    return tmp_path


def test_formats_are_written_by_name(folder: Path) -> None:
    result = CliRunner().invoke(
        command, [str(folder), "--format", "json", "--format", "terminal"], catch_exceptions=False
    )
    assert result.output.split() == [str(folder / "report.json"), str(folder / "report.txt")]
    printed = CliRunner().invoke(command, [str(folder), "--json"], catch_exceptions=False)
    assert printed.output == (folder / "report.json").read_text()
    assert "is 1.13× as fast as" in (folder / "report.txt").read_text()
    text = (folder / "report.txt").read_text()
    assert "A: mobilevit_xxs 2,2,2 ONNX Runtime: no breakdown." in text
    assert "onnx/" not in text
    assert not (folder / "report.html").exists()


def test_an_unknown_format_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no report format 'jason'.*Did you mean 'json'"):
        CliRunner().invoke(command, [str(folder), "--format", "jason"], catch_exceptions=False)


def test_the_help_lists_what_there_is() -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    for words in (
        "csv (the numbers as tables",
        "terminal (",
        "[default: csv, html, markdown, png]",
    ):
        assert words in text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_is_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    reads: list[Path] = []

    def counted(path: Path) -> Any:
        reads.append(path)
        return load_run(path)

    store = types.SimpleNamespace(folder=folder, cases=load_run(folder).cases)
    monkeypatch.setattr(pipeline_report, "load_run", counted)
    monkeypatch.setattr(bench, "run", lambda request, announce: store)
    monkeypatch.setattr(bench, "step_count", lambda request: 1)
    demands = Demands((parse("p50:1ms"),), reliable=False)
    asked: Any = types.SimpleNamespace(as_json=as_json, demands=demands, history=None)
    spec = ModelSpec("net", (), (8, 8))
    request: Any = types.SimpleNamespace(specs=(spec,), cases=(), engines=(), engine_options={})
    assert measuring.measure(request, asked) == 1
    assert reads == [folder]
    assert (folder / "report.html").is_file()
    out = capsys.readouterr().out
    if as_json:
        assert [case["slug"] for case in json.loads(out)["cases"]] == ["a", "b"]
    else:
        assert out.endswith(f"\nReport: {folder / 'report.html'}\n")


def test_a_gate_on_an_unknown_category_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    demands = Demands.read(("neck:40%", "attention:40%"), reliable=False)
    assert [gate.metric for gate in demands.gates] == ["neck", "attention"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "neck:40% is about a category that mvdeploy does not know" in lines[0]


def test_some_cases_only_are_for_formats_that_have_a_file_of_each(folder: Path) -> None:
    words = [str(folder), "--case", "A", "--json"]
    with pytest.raises(UsageError, match=r"--json prints all cases of a run\."):
        CliRunner().invoke(command, words, catch_exceptions=False)
    study = Path(__file__).parents[2] / "reports" / "table6-host"
    with pytest.raises(UsageError, match="is a study, which has no timelines"):
        CliRunner().invoke(command, [str(study), "--case", "A"], catch_exceptions=False)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """Two saved runs of the same cases, on this machine and on a phone."""
    here = two_cases().saved
    on_phone = dataclasses.replace(phone(), emulated=False)
    there = dataclasses.replace(
        here,
        run=dataclasses.replace(here.run, name="phone", device=on_phone),
        cases=tuple(
            dataclasses.replace(case, measurement=measurement(40 + i, 13.0))
            for i, case in enumerate(here.cases)
        ),
    )
    for name, saved in (("here", here), ("there", there)):
        save_run(saved.run, tmp_path / name)
        for case in saved.cases:
            save_case(case, tmp_path / name)
        save_comparisons(saved.comparisons, tmp_path / name)
    return str(tmp_path / "here"), str(tmp_path / "there")


def test_several_runs_are_one_page(warm: Server, runs: tuple[str, str], tmp_path: Path) -> None:
    done = warm.mvdeploy("report", *runs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted(Path(line) for line in done.stdout.splitlines())
    assert written == [
        Path("several") / name
        for name in (
            "figures/several-latency.png",
            "latency.csv",
            "report.html",
            "report.md",
        )
    ] + [Path("several/shares.csv")]
    assert all((tmp_path / path).stat().st_size for path in written)
    page = (tmp_path / "several/report.md").read_text("utf-8")
    assert "| mobilevit_xxs 2,2,2 | 2.5" in page and "ONNX Runtime" not in page
    printed = warm.mvdeploy("report", *runs, "--json", cwd=tmp_path)
    ratios = [row["ratio_verdict"] for row in json.loads(printed.stdout)["latencies"]]
    assert ratios == [None, "slower", None, "slower"]


def test_each_of_several_runs_has_its_own_page(runs: tuple[str, str], tmp_path: Path) -> None:
    words = [*runs, "--each", "--format", "json", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.output.split() == [
        str(tmp_path / "out" / name / "report.json") for name in ("here", "there")
    ]


def test_runs_of_one_name_do_not_replace_each_other(runs: tuple[str, str], tmp_path: Path) -> None:
    twins = [tmp_path / place / "run" for place in ("a", "b")]
    for run, twin in zip(runs, twins, strict=True):
        shutil.copytree(run, twin)
    words = [*map(str, twins), "--each", "--format", "json"]
    with pytest.raises(UsageError, match=r"a/run and .*b/run would both be written to .*out/run"):
        CliRunner().invoke(command, [*words, "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.output.split() == [str(twin / "report.json") for twin in twins]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{a}", "{a}"), r"The run .*host was given twice\."),
        (("{a}", "{here}"), r"is not the folder of a run"),
        (("{a}", "{b}", "--case", "A"), r"--case chooses cases of one run\."),
        (("{a}", "{b}", "--format", "speedscope"), r"The format speedscope shows one run\."),
        (("{a}", "{study}"), r"is a study, which has a page of its own\."),
        (("{a}", "{sweep}"), r"is a sweep, which has a page of its own\."),
    ],
)
def test_several_runs_that_make_no_page(
    runs: tuple[str, str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    study = Path(__file__).parents[2] / "reports" / "table6-host"
    named = {"a": runs[0], "b": runs[1], "here": str(tmp_path), "study": str(study)}
    named["sweep"] = str(tmp_path / "sweep")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").touch()
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(command, [w.format(**named) for w in words], catch_exceptions=False)
    assert not Path("several").exists()
