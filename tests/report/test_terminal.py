from __future__ import annotations

import dataclasses
import io
import itertools
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from mvdeploy.report.renderers import terminal
from mvdeploy.report.renderers.json import as_json
from mvdeploy.report.renderers.terminal import show
from mvdeploy.report.tables.latency import latency, tail
from mvdeploy.report.tables.table import Column, Table, text


def printed(view: Any, width: int = 110, **options: Any) -> str:
    out = io.StringIO()
    show(view, Console(file=out, width=width, **options))
    return out.getvalue()


def test_shows_latency_parts_ratio_and_findings(two: Any, view_for: Any) -> None:
    text = printed(view_for(two), width=200)
    for words in (
        "A: mobilevit_xxs 2,2,2",
        "Unattributed: outside operators (engine dispatch)",
        "A: mobilevit_xxs 2,2,2 onnxruntime: 99.61 % attributed, sum of operators ÷ latency 0.97",
        "profiler overhead +6 %",
        "mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2 (ratio 0.88",
        "Noted as usual, the report says more: operators fused across modules; ",
    ):
        assert words in text


def test_percentiles_of_too_few_samples_are_marked(single: Any, two: Any, view_for: Any) -> None:
    view = view_for(single)  # 40 samples: enough for p90 and p95
    p90, p99 = (tail(view.cases[0].timing.wall, name) for name in ("p90", "p99"))
    assert p99.endswith(" *") and not p90.endswith("*")
    text = printed(view, width=200)
    assert p99 in text and f"{p90} *" not in text
    assert "40 samples are too few for p99, marked with *" in text
    assert p99 in "".join("".join(row) for row in latency(view).rows)
    assert as_json(view)["cases"][0]["too_few_samples_for"] == ["p99"]
    assert as_json(view_for(two))["cases"][0]["too_few_samples_for"] == []


def test_failures_are_shown(trouble: Any, view_for: Any) -> None:
    text = printed(view_for(trouble))
    assert "A: mobilevit_xs 2,2,2 has no latency: The runner was killed (out of memory)." in text
    assert "no breakdown" in text
    assert "error: parity_failed" in text


def test_markup_and_escapes_are_text(hostile_story: Any, view_for: Any) -> None:
    text = printed(view_for(hostile_story), width=200, force_terminal=True, color_system=None)
    assert "[red]d[/red]" in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_fits_the_terminal(eight: Any, view_for: Any, width: int) -> None:
    assert max(map(len, printed(view_for(eight), width).splitlines())) <= width


@pytest.mark.parametrize("width", [40, 50, 60])
def test_a_narrow_terminal_loses_no_name_and_no_verdict(
    two: Any, view_for: Any, width: int
) -> None:
    view = view_for(two)
    text = printed(view, width)
    lines = [line.strip() for line in text.splitlines()]
    for case in view.cases:
        at = lines.index(f"{case.key}: {case.name}")
        assert lines[at + 1].startswith("p50 ")
        shown = " ".join(lines[at + 1 : at + 4])
        assert f"verdict {case.verdict.grade}" in shown and "load 41.300" in shown
    assert "Attention" in text and max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "label", ["x" * 3000, "ネットワーク" * 9, "\U0001f469\u200d\U0001f467 " * 30]
)
def test_names_of_any_length_and_script(two: Any, view_for: Any, label: str, width: int) -> None:
    """A name takes lines of the whole width rather than a column of a few letters."""
    a, b = two.saved.cases
    saved = dataclasses.replace(two.saved, cases=(dataclasses.replace(a, label=label), b))
    text = printed(view_for(dataclasses.replace(two, saved=saved)), width)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 170
    assert "\ufffd" not in text
    assert any(line.strip().startswith("A: ") or line.strip() == "A:" for line in lines)
    assert any("5.202" in line for line in lines)


def test_names_are_broken_where_their_parts_meet() -> None:
    name = "file_with_a_long_name.py:factory_of_networks 8,4,2 with_folded_norm"
    for width in range(12, 80):
        lines = terminal.broken(f"B: {name}", width)
        assert max(map(len, lines)) <= width
        for line, after in itertools.pairwise(lines):
            assert line[-1] in "_.:," or f"{line} {after}" in f"B: {name}"
    assert "".join(terminal.broken("x" * 300, 7)) == "x" * 300
    assert terminal.broken("日本語 日本語", 6) == ["日本語", "日本語"]


def test_a_table_breaks_no_name_where_it_has_room() -> None:
    rows = (("mobilevit_xxs 2,2,2", "ONNX Runtime fp32", "1"),)
    table = Table("T", (text("Case"), text("with"), Column("runs")), rows)
    for width, kept in ((70, "mobilevit_xxs 2,2,2"), (40, "mobilevit_xxs"), (32, "mobilevit_")):
        said = io.StringIO()
        Console(file=said, width=width).print(terminal.fitting(table, width))
        cells = [line[1:].split("  ")[0].strip() for line in said.getvalue().splitlines()]
        assert kept in cells, (width, cells)
        assert all(len(line) <= width for line in said.getvalue().splitlines())
