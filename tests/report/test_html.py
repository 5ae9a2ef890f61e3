from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.report.renderers import html

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


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
    anchors = {a["id"] for _, a in page.tags if "id" in a}
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
    assert not tags & {"script", "iframe", "object", "embed", "form", "link", "base", "svg"}
    assert not any(attr.startswith("on") for _, attrs in page.tags for attr in attrs)


def test_hostile_text_is_shown_as_text(pages: dict[str, Path]) -> None:
    page = Page(pages["hostile"].read_text(encoding="utf-8"))
    assert '<script>document.title="owned"</script>' in page.text
    assert "\x1b" not in page.text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        reason = "chromium and chromedriver are needed to look at the page"
        if os.environ.get("MVDEPLOY_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def _narrow(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.mark.parametrize("name", ["two", "hostile", "eight"])
@pytest.mark.parametrize("width", [1366, 800, 380])
def test_the_page_does_not_scroll_sideways(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    _narrow(browser, width)
    browser.get(pages[name].as_uri())
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.clientWidth") <= width
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")


def test_nothing_is_requested_and_nothing_runs(browser: Any, pages: dict[str, Path]) -> None:
    import json

    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(pages["hostile"].as_uri())
    assert browser.title.startswith("Latency of 3 cases on <script>")
    assert browser.execute_script("return document.scripts.length") == 0
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [
        m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"
    ]
    assert pages["hostile"].as_uri() in requested
    assert all(url.startswith(("file:", "data:")) for url in requested)
    assert browser.get_log("browser") == []
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 100)"
    assert browser.execute_script(loaded)
