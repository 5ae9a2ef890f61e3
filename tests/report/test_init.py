from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mvdeploy import report
from mvdeploy.analysis.view import view_of
from mvdeploy.errors import UsageError
from mvdeploy.report import figures, renderers

DEFAULT = {"csv", "html", "markdown", "png"}
LATEX = (
    *("latency-ms", "paired-ratios", "more-of-the-latency-ms-and-memory", "latency-by-category"),
    *("from-a-to-b-where-the-difference-comes-from", "latency-by-kind-of-operator"),
    *("top-modules", "top-operators-a-mobilevit-xxs-2-2-2", "top-operators-b-mobilevit-xxs-8-4-2"),
    *("parity-with-the-pytorch-reference", "models", "engines", "run", "plan", "device"),
    *("environment-of-the-machine-that-drove-it", "device-before-and-after", "all"),
)
FILES = {
    "csv": {"latency.csv", "comparisons.csv", "breakdown.csv", "operators.csv", "samples.csv"},
    "html": {"report.html"},
    "markdown": {
        "report.md",
        *(f"figures/{n}.png" for n in ("latency", "categories", "modules", "timeline")),
    },
    "json": {"report.json"},
    "latex": {f"tables/{name}.tex" for name in LATEX},
    "perfetto": {"timelines/a.perfetto.json", "timelines/b.perfetto.json"},
    "speedscope": {"timelines/a.speedscope.json", "timelines/b.speedscope.json"},
    "terminal": {"report.txt"},
    "png": {f"figures/{n}.png" for n in ("latency", "categories", "modules", "timeline")},
}


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(figures, "image", lambda view, name, kind: f"{name} {kind}".encode())


def test_every_format_is_one_file() -> None:
    assert set(report.available()) == set(FILES)


@pytest.mark.parametrize("format_", FILES)
def test_writes_the_files_of_a_format(
    two: Any, view_for: Any, tmp_path: Path, format_: str
) -> None:
    written = report.write(view_for(two), tmp_path / "new", [format_])
    found = {p.relative_to(tmp_path / "new").as_posix() for p in written}
    assert found == FILES[format_]
    assert all(p.stat().st_size for p in written)


def test_writes_the_usual_ones_once_and_leaves_no_parts(
    two: Any, view_for: Any, tmp_path: Path
) -> None:
    written = report.write(view_for(two), tmp_path)
    found = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert len(written) == len(set(written))
    assert found == set(written)
    assert {p.relative_to(tmp_path).as_posix() for p in found} == set().union(
        *(FILES[name] for name in DEFAULT)
    )


def test_an_unknown_format_writes_nothing(two: Any, view_for: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no report format 'htm'.*Did you mean 'html'"):
        report.write(view_for(two), tmp_path, ["csv", "htm"])
    assert not list(tmp_path.iterdir())


def test_a_run_without_any_case_can_be_rendered(two: Any, tmp_path: Path) -> None:
    empty = dataclasses.replace(
        two.saved, run=dataclasses.replace(two.saved.run, cases=()), cases=(), comparisons=()
    )
    report.write(view_of(empty, {}), tmp_path)
    assert "0 cases were measured" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "samples.csv").read_text().startswith("case,label")


def test_same_input_same_files(two: Any, view_for: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.write(view_for(two), tmp_path / name, [*FILES])
    for path in (tmp_path / "one").rglob("*.*"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_a_renderer_is_one_file(
    two: Any, view_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "tally.py").write_text(
        'EXTENSION, DESCRIPTION, DEFAULT = "tally", "how many cases there are", True\n'
        "def render(view, folder):\n"
        '    (folder / "report.tally").write_text("|" * len(view.cases))\n'
        '    return (folder / "report.tally",)\n'
    )
    monkeypatch.setattr(renderers, "__path__", [*renderers.__path__, str(room)])
    try:
        written = report.write(view_for(two), tmp_path)
        assert (tmp_path / "report.tally").read_text() == "||"
        assert tmp_path / "report.tally" in written
        command = importlib.reload(importlib.import_module("mvdeploy.cli.commands.report")).command
        help_text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
        assert "tally (how many cases there are)" in help_text
        assert "png, tally]" in help_text
    finally:
        monkeypatch.undo()
        sys.modules.pop("mvdeploy.report.renderers.tally", None)
        importlib.reload(importlib.import_module("mvdeploy.cli.commands.report"))


@pytest.mark.parametrize("name", FILES)
def test_what_a_renderer_declares_is_true(
    two: Any, view_for: Any, tmp_path: Path, name: str
) -> None:
    module = report.renderer(name)
    assert name in DEFAULT if module.DEFAULT else name not in DEFAULT
    assert f".{module.EXTENSION}" in {p.suffix for p in module.render(view_for(two), tmp_path)}
    assert module.DESCRIPTION[0].islower()
    assert not module.DESCRIPTION.endswith(".")


LIGHT = [
    *("", ".prose", ".document", ".figures", ".ci.junit", ".ci.github"),
    *(f".renderers.{name}" for name in FILES),
]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_is_light(module: str) -> None:
    heavy = "numpy scipy matplotlib pandas jinja2 rich torch onnx onnxruntime"
    code = f"import sys, mvdeploy.report{module}; print({{*'{heavy}'.split()}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
