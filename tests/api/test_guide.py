"""docs/python.md: what it shows runs, on a smaller network, and what it lists is there."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import mvdeploy
from mvdeploy.api import _frames
from mvdeploy.report.renderers.csv import tables

GUIDE_PATH = Path(__file__).parents[2] / "docs" / "python.md"
GUIDE = GUIDE_PATH.read_text(encoding="utf-8")

SMALLER = (
    ('export("mobilevit_xxs", format="onnx", patches=(8, 4, 2))', 'export("yardstick")'),
    ('bench(["mobilevit_xxs", exported], threads=1)', 'bench(["yardstick", exported], SHORT)'),
    (
        'compare("mobilevit_xxs", exported, threads=1)',
        'compare("yardstick", exported, max_time=1, groups=4, warmup=2)',
    ),
    ("example=torch.rand(1, 3, 64, 64))\n\n", "example=torch.rand(1, 3, 64, 64), SHORT)\n\n"),
    ("SHORT", "threads=1, iterations=8, warmup=2"),
)


def calls(code: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "mvdeploy"
    ]


def test_what_the_readme_and_the_package_show_can_be_called() -> None:
    readme = GUIDE_PATH.parents[1].joinpath("README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    docstring = (mvdeploy.__doc__ or "").partition("four functions::\n\n")[2]
    own = textwrap.dedent(docstring.partition("\n\nNetworks")[0])
    for code, count in ((block, 2), (own, 4)):
        found = calls(code)
        assert len(found) == count
        for call in found:
            function = getattr(mvdeploy, call.func.attr)  # type: ignore[attr-defined]
            given = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(function).bind(*call.args, **given)


@pytest.mark.slow
def test_what_the_guide_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    code = "\n\n".join(blocks)
    for usual, small in SMALLER:
        assert usual in code, usual
        code = code.replace(usual, small)
    names: dict[str, object] = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert "yardstick-56-fp32.onnx True\nMedian latency (p50): A: " in said
    assert "There is no model 'mobilevit_m'." in said
    assert (tmp_path / "categories.png").exists() and (tmp_path / "page/report.html").exists()
    assert isinstance(names["again"], mvdeploy.Result)


def test_every_table_and_column_is_listed(workspace: Path) -> None:
    view = mvdeploy.load("run").view
    for name in _frames.NAMES:
        (line,) = [row for row in GUIDE.splitlines() if re.match(rf"\|[^|]*`{name}`", row)]
        listed = set(re.findall(r"`(\w+)`", line)) | {"case", "label", "format", "engine"}
        between = {"p10_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms"}  # from least to largest
        assert set(_frames.frame(view, name).columns) - listed <= between, name
    assert set(tables(view)) == {"latency", "comparisons", "breakdown", "operators", "samples"}
