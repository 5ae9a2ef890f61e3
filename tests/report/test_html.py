from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.report.renderers import html
from tests.browser import requested, resize


class Page(HTMLParser):
    """What a browser would see: tags, their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages(
    two: Any,
    hostile_story: Any,
    eight: Any,
    view_for: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("html")
    stories = {"two": two, "hostile": hostile_story, "eight": eight}
    return {n: html.render(view_for(s), folder / n)[0] for n, s in stories.items()}


def test_contents(pages: dict[str, Path]) -> None:
    page = Page(pages["two"].read_text(encoding="utf-8"))
    for words in (
        "mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2",
        "99.61 % of operator time attributed, measured",
        "From A to B: where the difference comes from",
        "What to do:",
        "Device before and after",
        "How to read this report",
    ):
        assert words in page.text
    anchors = {a["id"] for tag, a in page.tags if tag == "section"}
    links = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    assert links == anchors


def test_pictures_are_inside_and_have_words(pages: dict[str, Path]) -> None:
    page = Page(pages["two"].read_text(encoding="utf-8"))
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 4
    assert all((a["src"] or "").startswith("data:image/svg+xml;base64,") for a in pictures)
    assert all(a["alt"] for a in pictures)


@pytest.mark.parametrize("name", ["two", "hostile"])
def test_only_known_tags(pages: dict[str, Path], name: str) -> None:
    page = Page(pages[name].read_text(encoding="utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "object", "embed", "form", "link", "base", "svg", "input"}
    assert not any(attr.startswith("on") for _, attrs in page.tags for attr in attrs)
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert kinds == ["application/json", None, None]


@pytest.mark.parametrize("name", ["two", "hostile"])
def test_the_policy_names_what_runs(pages: dict[str, Path], name: str) -> None:
    text = pages[name].read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert scripts == [html.asset("echarts.min.js"), html.asset("report.js")]
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert "connect-src" not in rules


def test_hostile_text_is_shown_as_text(pages: dict[str, Path]) -> None:
    page = Page(pages["hostile"].read_text(encoding="utf-8"))
    assert '<script>document.title="owned"</script>' in page.text
    assert "\x1b" not in page.text


@pytest.mark.parametrize("name", ["two", "hostile", "eight"])
@pytest.mark.parametrize("width", [1366, 800, 380])
def test_the_page_does_not_scroll_sideways(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    resize(browser, width)
    browser.get(pages[name].as_uri())
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.clientWidth") <= width
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")


def test_nothing_is_requested_and_nothing_else_runs(browser: Any, pages: dict[str, Path]) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(pages["hostile"].as_uri())
    assert browser.title.startswith("Latency of 3 cases on <script>")
    assert browser.execute_script("return document.scripts.length") == 3
    urls = requested(browser)
    assert pages["hostile"].as_uri() in urls
    assert all(url.startswith(("file:", "data:")) for url in urls)
    assert browser.get_log("browser") == []
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 100)"
    assert browser.execute_script(loaded)
