"""Commands of docs/reports.md: timelines, and what a CI shows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mvdeploy.analysis.view import view_of
from mvdeploy.cli.ci_files import CiFiles
from mvdeploy.files.writing import NotWritten
from mvdeploy.records import SavedRun
from tests.saved_runs import run
from tests.warm import started

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--iterations", "6", "--sessions", "2", "--warmup", "1", "-o", "runs")


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a step's summary, to which something was written before."""
    path = tmp_path / "summary.md"
    path.write_text("# Before")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def outcomes(path: Path) -> list[tuple[str, str]]:
    """Return name and outcome of every test case."""
    cases = ET.parse(path).getroot().iter("testcase")
    return [
        (c.attrib["name"], next((e.tag for e in c if e.tag != "system-out"), "passed"))
        for c in cases
    ]


def test_a_run_that_passes_and_its_timelines(tmp_path: Path, summary: Path) -> None:
    """In new processes, as a user starts them."""
    asked = ("--fail-on", "p50:10000ms", "--junit", "ci.xml", "--github-summary")
    engines = ("--format", "onnx", "--format", "executorch", "--threads", "1")
    done = started("bench", "yardstick", *engines, *QUICK, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = outcomes(tmp_path / "ci.xml")
    assert [o for o in found if o[0] != "outputs on the device"] == [
        *[("measured", "passed")] * 2,
        *[("gate p50:10000ms", "passed")] * 2,
    ]
    assert summary.read_text().startswith("# Before\n## mvdeploy: all checks passed\n")

    (folder,) = (tmp_path / "runs").iterdir()
    formats = ("--format", "perfetto", "--format", "speedscope")
    done = started("report", str(folder), *formats, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = started("report", str(folder), "--json", cwd=tmp_path)
    for case in json.loads(printed.stdout)["cases"]:
        place = folder / "timelines" / case["slug"]
        body = json.loads(Path(f"{place}.perfetto.json").read_text())
        facts, total = body["otherData"], case["breakdown"]["total_ms"]
        assert facts["total_ms"] == pytest.approx(total)
        assert max(e["ts"] for e in body["traceEvents"] if e["ph"] == "E") == pytest.approx(
            1e3 * total, abs=1e-3
        )
        assert facts["starts"].startswith("estimated: the time before each operator")
        sound = json.loads(Path(f"{place}.speedscope.json").read_text())
        assert sound["mvdeploy"] == facts
        assert str(place) in done.stdout


def test_one_case_by_its_letter(typed: Mvdeploy, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "reports" / "example-host"
    words = ("--format", "speedscope", "--case", "B", "-o", "out")
    done = typed("report", str(example), *words)
    name = "mobilevit_s-p8-4-2-256-onnx.speedscope.json"
    assert done.stdout == f"out/timelines/{name}\n"
    assert [p.name for p in (tmp_path / "out").rglob("*.json")] == [name]
    refused = typed("report", str(example), "--format", "html", "--case", "B")
    assert refused.returncode == 2
    assert "The format html is of all cases of a run together." in refused.stderr


def test_a_gate_that_fails_and_one_that_cannot_be_decided(
    mvdeploy: Mvdeploy, tmp_path: Path, summary: Path
) -> None:
    quick = (*QUICK, "--no-breakdown", "--junit", "ci.xml", "--github-summary")
    done = mvdeploy("bench", "yardstick", "--threads", "1", "--save-baseline", "b.json", *quick)
    assert done.returncode == 0, done.stderr
    asked = ("--threads", "1", "--fail-on", "p50:0.0001ms")
    done = mvdeploy("bench", "yardstick", *asked, *quick)
    assert done.returncode == 1, done.stderr
    assert ("gate p50:0.0001ms", "failure") in outcomes(tmp_path / "ci.xml")
    assert summary.read_text().count("## mvdeploy: ") == 2
    assert "❌ failed | p50:0.0001ms" in summary.read_text()
    other = ("--threads", "2", "--baseline", "b.json", "--fail-on", "p50:5%")
    done = mvdeploy("bench", "yardstick", *other, *quick)
    assert done.returncode == 2, done.stderr
    assert outcomes(tmp_path / "ci.xml")[-1] == ("decided", "error")
    assert "❌ error | decided" in summary.read_text()


@pytest.mark.parametrize(
    ("named", "said"),
    [("", "GITHUB_STEP_SUMMARY names, and that is not set"), (".", "names ., which is no file")],
)
def test_a_summary_without_a_file_is_refused_before_any_work(
    mvdeploy: Mvdeploy, monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", named)
    done = mvdeploy("bench", "yardstick", "--github-summary")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_saved_results_have_no_checks(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    words = ("compare", "a.json", "b.json", "--junit", "ci.xml")
    for name in words[1:3]:
        (tmp_path / name).write_text("{}")
    done = mvdeploy(*words)
    assert done.returncode == 2
    assert "Of saved results there are no checks for --junit" in done.stderr
    assert not (tmp_path / "ci.xml").exists()


def test_a_summary_that_cannot_be_written_is_told_in_a_sentence() -> None:
    view = view_of(SavedRun(run(()), ()), {})
    with pytest.raises(NotWritten, match=r"/dev/full cannot be written \(No space left"):
        CiFiles(summary=Path("/dev/full")).write(view, ())
