from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.report import document, figures
from mvdeploy.report.renderers import markdown
from tests.saved_runs import several_cases


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "image", lambda view, name, kind: b"picture")


def rendered(view: Any, folder: Path) -> str:
    return markdown.render(view, folder)[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["two", "single", "trouble", "hostile_story", "eight"])
def test_every_row_has_as_many_cells_as_its_table(
    name: str, view_for: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = rendered(view_for(request.getfixturevalue(name)), tmp_path)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 8
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1


def test_says_what_matters(two: Any, view_for: Any, tmp_path: Path) -> None:
    text = rendered(view_for(two), tmp_path)
    for words in (
        "2 cases were measured with onnxruntime (1 inference thread) on This machine",
        "mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2 (ratio 0.88",
        "95 % interval within this run",
        "sum of operators ÷ latency = 0.97",
        "Unattributed: outside operators (engine dispatch)",
        "From A to B: where the difference comes from",
        "Hyndman-Fan type 7",
        "LayerNorm and residual additions belong to the attention or FFN they serve",
        "1.20e-06",
        "schedutil",
    ):
        assert words in text


def test_of_many_pairs_the_first_have_tables(view_for: Any, tmp_path: Path) -> None:
    text = rendered(view_for(several_cases(20)), tmp_path)
    assert len(re.findall(r"^### From A to [B-Z]: where", text, re.MULTILINE)) == 12
    assert "The first 12 of 19 pairs are shown; report.json (--format json) has all." in text


def test_pictures_exist(two: Any, view_for: Any, tmp_path: Path) -> None:
    text = rendered(view_for(two), tmp_path)
    linked = re.findall(r"!\[.*\]\((\S+)\)", text)
    assert len(linked) == len(document.pictures(view_for(two))) == 4
    assert all((tmp_path / name).is_file() for name in linked)


def test_failed_cases_are_named_with_reason(trouble: Any, view_for: Any, tmp_path: Path) -> None:
    text = rendered(view_for(trouble), tmp_path)
    assert "A: mobilevit_xs 2,2,2 has no latency: The runner was killed (out of memory)." in text
    assert "D: waiting has no latency: The run ended before this case's turn." in text
    assert "estimated" in text


def test_hostile_text_is_inert(hostile_story: Any, view_for: Any, tmp_path: Path) -> None:
    text = rendered(view_for(hostile_story), tmp_path)
    assert not re.search(r"(?<!&)<[a-z/]", text)
    assert "https://" not in text
    assert "www." not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)\$", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mobilevit_xxs 2,2,2", "mobilevit_xxs 2,2,2"),
        ("_a_ __b__", r"\_a\_ \_\_b\_\_"),
        ("a|b", r"a\|b"),
        ("4.604", "4.604"),
        ("1. a", r"1\. a"),
        ("# a", r"\# a"),
        ("---", r"--\-"),
        ("- a", r"\- a"),
        ("+0.3 %", "+0.3 %"),
        ("[a](b)", r"\[a\](b)"),
        ("<b>", "&lt;b&gt;"),
        ("http://a.b", "http&#58;//a.b"),
        ("a\n\n# b", "a # b"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert markdown.escape(text) == expected
