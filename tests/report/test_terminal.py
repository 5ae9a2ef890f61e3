from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mvdeploy.report.renderers.terminal import show


def printed(view: Any, width: int = 110, **options: Any) -> str:
    out = io.StringIO()
    show(view, Console(file=out, width=width, **options))
    return out.getvalue()


def test_shows_latency_parts_ratio_and_findings(two: Any, view_for: Any) -> None:
    text = printed(view_for(two), width=200)
    for words in (
        "A: mobilevit_xxs 2,2,2",
        "Unattributed: outside operators (engine dispatch)",
        "A: mobilevit_xxs 2,2,2 onnx/onnxruntime: 99.61 % attributed, "
        "sum of operators ÷ latency 0.97",
        "profiler overhead +6 %",
        "mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2 (ratio 0.88",
        "note: fused_across_modules",
    ):
        assert words in text


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
