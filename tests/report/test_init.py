from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import report
from mvdeploy.errors import UsageError
from mvdeploy.report import figures

FILES = {
    "csv": {"latency.csv", "comparisons.csv", "breakdown.csv", "operators.csv", "samples.csv"},
    "html": {"report.html"},
    "markdown": {
        "report.md",
        *(f"figures/{n}.png" for n in ("latency", "categories", "modules", "timeline")),
    },
    "png": {f"figures/{n}.png" for n in ("latency", "categories", "modules", "timeline")},
}


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(figures, "image", lambda view, name, kind: f"{name} {kind}".encode())


def test_every_format_is_one_file() -> None:
    assert set(report.formats()) == set(FILES)


@pytest.mark.parametrize("format_", FILES)
def test_writes_the_files_of_a_format(two: Any, tmp_path: Path, format_: str) -> None:
    written = report.render(two.saved, two.breakdowns, tmp_path / "new", [format_])
    assert {p.relative_to(tmp_path / "new").as_posix() for p in written} == FILES[format_]
    assert all(p.stat().st_size for p in written)


def test_writes_everything_once_and_leaves_no_parts(two: Any, tmp_path: Path) -> None:
    written = report.render(two.saved, two.breakdowns, tmp_path)
    found = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert len(written) == len(set(written))
    assert found == set(written)
    assert {p.relative_to(tmp_path).as_posix() for p in found} == set().union(*FILES.values())


def test_an_unknown_format_writes_nothing(two: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no report format 'htm'.*Did you mean 'html'"):
        report.render(two.saved, two.breakdowns, tmp_path, ["csv", "htm"])
    assert not list(tmp_path.iterdir())


def test_a_run_without_any_case_can_be_rendered(two: Any, tmp_path: Path) -> None:
    import dataclasses

    empty = dataclasses.replace(
        two.saved, run=dataclasses.replace(two.saved.run, cases=()), cases=(), comparisons=()
    )
    report.render(empty, {}, tmp_path)
    assert "0 cases were measured" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "samples.csv").read_text().startswith("case,label")


def test_same_input_same_files(two: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.render(two.saved, two.breakdowns, tmp_path / name, ["csv", "html", "markdown"])
    for path in (tmp_path / "one").rglob("*.*"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("module", ["", ".view", ".document", ".terminal", ".machine", ".figures"])
def test_importing_is_light(module: str) -> None:
    heavy = "scipy matplotlib pandas jinja2 rich torch onnx onnxruntime"
    code = f"import sys, mvdeploy.report{module}; print({{*'{heavy}'.split()}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
