"""What the HTML report does in a browser."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mvdeploy.report import document, figures, interactive
from mvdeploy.report.renderers import html
from mvdeploy.report.renderers.json import as_json
from mvdeploy.text_format import milliseconds, percent
from tests.browser import media, requested, resize
from tests.saved_runs import hostile, one_case, several_cases, troubled, two_cases

ASSETS = importlib.resources.files("mvdeploy.report") / "assets"
STORIES = {
    "two": two_cases,
    "single": one_case,
    "trouble": troubled,
    "hostile": hostile,
    "eight": lambda: several_cases(8),
    "fifty": lambda: several_cases(50),
}
LARGEST = 3_000_000
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300"/>'


@pytest.fixture(scope="module")
def views(view_for: Any) -> dict[str, Any]:
    return {name: view_for(story()) for name, story in STORIES.items()}


@pytest.fixture(scope="module")
def pages(views: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        # How pictures are drawn is tested elsewhere; these are about as large.
        patch.setattr(
            figures, "image", lambda view, name, kind: PICTURE + b" " * 20_000 * len(view.cases)
        )
        return {name: html.render(view, folder / name)[0].as_uri() for name, view in views.items()}


@pytest.fixture(autouse=True)
def usual(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show every page on a wide and light screen, unless a test changes that."""
    yield
    if "browser" in request.fixturenames:
        driver = request.getfixturevalue("browser")
        media(driver)
        resize(driver, 1280)


def open_page(browser: Any, page: str, width: int = 1280) -> None:
    resize(browser, width)
    browser.get("about:blank")
    browser.get(page)


def plot_of(browser: Any, chart: str, number: int = 0) -> Any:
    return browser.find_elements(By.CSS_SELECTOR, f'[data-chart="{chart}"] .plot')[number]


def readout(browser: Any, plot: Any) -> list[str]:
    text = browser.execute_script("return arguments[0].nextElementSibling.textContent", plot)
    return str(text).split("; ")


def press(plot: Any, *keys: str) -> None:
    for key in keys:
        plot.send_keys(key)


# ---------------------------------------------------------------- what is not our own


def test_the_library_is_what_its_makers_publish() -> None:
    held = tomllib.loads((ASSETS / "vendored.toml").read_text("utf-8"))
    assert set(held) == {"echarts"}
    said = held["echarts"]
    data = (ASSETS / said["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == said["sha256"]
    assert f'version="{said["version"]}"' in data.decode().replace("'", '"')
    assert f"-{said['version']}.tgz" in said["source"]
    assert "Apache License" in (ASSETS / said["license_files"][0]).read_text("utf-8")
    assert all((ASSETS / name).is_file() for name in said["license_files"])


@pytest.mark.parametrize("name", ["echarts.min.js", "report.js"])
def test_scripts_may_stand_in_a_page(name: str) -> None:
    text = html.asset(name)
    assert not re.search(r"</script|<!--|\r", text, re.IGNORECASE)


# ---------------------------------------------------------------- the data


@pytest.mark.parametrize("name", STORIES)
def test_values_are_those_of_the_json(views: dict[str, Any], name: str) -> None:
    drawn, told = interactive.data(views[name]), as_json(views[name])
    assert len(drawn["cases"]) == len(told["cases"])
    for one, case in zip(drawn["cases"], told["cases"], strict=True):
        assert (one["latency_ms"] is None) == (case["latency_ms"] is None)
        for key, value in (one["latency_ms"] or {}).items():
            assert value == pytest.approx(case["latency_ms"][key], abs=1e-6)
        shown = [sample for session in one["samples"] for sample in session]
        every = [time for session in case["raw_samples_ms"] for time in session]
        assert one["count"] == len(every)
        assert all(time == pytest.approx(every[at], abs=1e-6) for at, time in shown)
        if every:
            assert max(time for _, time in shown) == pytest.approx(max(every), abs=1e-6)
            assert min(time for _, time in shown) == pytest.approx(min(every), abs=1e-6)
        if case["breakdown"]:
            parts = [part["ms"] for part in case["breakdown"]["categories"].values()]
            assert one["breakdown"]["parts"] == pytest.approx(parts, abs=1e-6)
            modules = [module["ms"] for module in case["breakdown"]["modules"].values()]
            found = [time for _, time, _ in one["breakdown"]["modules"]]
            assert sorted(found) == pytest.approx(sorted(modules), abs=1e-6)


def test_data_cannot_end_its_element(views: dict[str, Any]) -> None:
    text = interactive.text(views["hostile"])
    assert "script" in text  # the name is there
    assert not set("<>&\u2028\u2029") & set(text) and text.isascii()
    assert json.loads(text)["cases"][0]["key"] == "A"


def test_fifty_cases_are_no_larger_than_three_megabytes(pages: dict[str, str]) -> None:
    assert Path(pages["fifty"].removeprefix("file://")).stat().st_size <= LARGEST


# ---------------------------------------------------------------- in the browser


@pytest.mark.parametrize("name", STORIES)
def test_no_errors_no_requests_no_sideways_scrolling(
    browser: Any, pages: dict[str, str], name: str
) -> None:
    requested(browser)
    browser.get_log("browser")
    for width in (1280, 400):
        open_page(browser, pages[name], width)
        scrolled = "const r = document.documentElement; return r.scrollWidth - r.clientWidth"
        assert browser.execute_script(scrolled) <= 0, width
        assert browser.find_elements(By.CSS_SELECTOR, ".chart:not([hidden]) svg")
    assert browser.get_log("browser") == []
    asked = requested(browser)
    assert asked.count(pages[name]) == 2
    assert [url for url in asked if not url.startswith((pages[name], "data:"))] == []


def test_the_policy_forbids_requests_and_evaluation(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["two"])
    script = """
      const done = arguments[0];
      const blocked = [];
      const note = (event) => blocked.push(event.effectiveDirective);
      document.addEventListener("securitypolicyviolation", note);
      const inline = document.createElement("script");
      inline.textContent = "document.title = 'owned'";
      document.body.append(inline);
      fetch("https://localhost/").catch(() => {});
      setTimeout(() => done([blocked, document.title]), 500);
    """
    blocked, title = browser.execute_async_script(script)
    assert {"connect-src", "script-src-elem"} <= set(blocked)
    assert title != "owned"
    browser.get_log("browser")


OVERLAPS = """
  const found = [];
  for (const svg of document.querySelectorAll(".plot svg")) {
    const texts = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim());
    const boxes = texts.map((t) => t.getBoundingClientRect());
    const frame = svg.getBoundingClientRect();
    boxes.forEach((a, i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) found.push(texts[i].textContent);
      boxes.slice(i + 1).forEach((b, j) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        const words = texts[i].textContent + " / " + texts[i + 1 + j].textContent;
        if (across > 1 && down > 2) found.push(words);
      });
    });
  }
  return [found, document.querySelectorAll(".plot svg text").length];
"""


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["two", "hostile", "eight", "fifty"])
def test_words_in_charts_do_not_overlap(
    browser: Any, pages: dict[str, str], name: str, width: int
) -> None:
    open_page(browser, pages[name], width)
    overlaps, texts = browser.execute_script(OVERLAPS)
    assert texts > 20
    assert overlaps == []


def test_values_by_keyboard_are_those_of_the_json(
    browser: Any, pages: dict[str, str], views: dict[str, Any]
) -> None:
    told = as_json(views["two"])["cases"]
    open_page(browser, pages["two"])
    plot = plot_of(browser, "latency")
    fastest = min(told, key=lambda case: case["latency_ms"]["p50"])
    press(plot, Keys.HOME)
    said = "; ".join(readout(browser, plot))
    for name in ("p50", "p90", "p99"):
        assert f"{name} {milliseconds(fastest['latency_ms'][name] * 1e6)} ms" in said
    interval = fastest["interval"]
    assert f"{interval['low_ms']:.3f} ms to {interval['high_ms']:.3f} ms" in said
    assert f"{sum(map(len, fastest['raw_samples_ms'])):,} samples" in said
    assert plot.find_element(By.CSS_SELECTOR, ".tip").text.split("\n") == readout(browser, plot)

    plot = plot_of(browser, "categories")
    press(plot, Keys.HOME)
    divided = told[0]["breakdown"]
    used = [part for part in divided["categories"].values() if part["ms"]]
    for part in used:
        expected = f"{milliseconds(part['ms'] * 1e6)} ms, {percent(part['share'])} of "
        assert readout(browser, plot)[2].startswith(expected)
        press(plot, Keys.ARROW_RIGHT)


def test_values_by_pointer(browser: Any, pages: dict[str, str], views: dict[str, Any]) -> None:
    from selenium.webdriver import ActionChains

    open_page(browser, pages["two"])
    plot = plot_of(browser, "latency")
    circle = plot.find_element(By.CSS_SELECTOR, "svg [d*='A']")
    ActionChains(browser).move_to_element(circle).perform()
    case = min(as_json(views["two"])["cases"], key=lambda one: one["latency_ms"]["p50"])
    shown = f"p50 {milliseconds(case['latency_ms']['p50'] * 1e6)} ms"
    assert shown in plot.find_element(By.CSS_SELECTOR, ".tip").text


def test_an_icicle_is_walked_through_by_keyboard(
    browser: Any, pages: dict[str, str], views: dict[str, Any]
) -> None:
    told = as_json(views["two"])["cases"][0]["breakdown"]
    open_page(browser, pages["two"])
    plot = plot_of(browser, "modules")
    press(plot, Keys.HOME)
    assert readout(browser, plot)[0] == "The whole latency"
    assert readout(browser, plot)[2].startswith(f"{told['total_ms']:.3f} ms")
    press(plot, Keys.ARROW_RIGHT)
    seen = set()
    while not (path := readout(browser, plot)[0]).startswith("stages"):
        assert path not in seen
        seen.add(path)
        press(plot, Keys.ARROW_DOWN)
    times = [m["ms"] for p, m in told["modules"].items() if p == path or p.startswith(f"{path}.")]
    assert len(times) > 1
    assert readout(browser, plot)[2].startswith(f"{sum(times):.3f} ms, ")
    press(plot, Keys.ENTER)
    where = browser.find_element(By.CSS_SELECTOR, '[data-chart="modules"] .controls span')
    assert where.text == f"In {path}"
    assert readout(browser, plot)[0] == path
    press(plot, Keys.ARROW_RIGHT)
    assert readout(browser, plot)[0].startswith(path) and readout(browser, plot)[0] != path
    press(plot, Keys.ARROW_LEFT)
    assert readout(browser, plot)[0] == path
    press(plot, Keys.ESCAPE)
    assert where.text == ""
    assert readout(browser, plot)[0] == "The whole latency"


def test_engines_side_by_side_have_one_scale(
    browser: Any, pages: dict[str, str], views: dict[str, Any]
) -> None:
    open_page(browser, pages["two"])
    totals = [case["breakdown"]["total_ms"] for case in as_json(views["two"])["cases"]]
    heights = browser.execute_script(
        """
        const several = getComputedStyle(document.documentElement).getPropertyValue("--mixed");
        return [...document.querySelectorAll('[data-chart="modules"] .plot svg')].map((svg) =>
          Math.max(...[...svg.querySelectorAll(`path[fill="${several.trim()}"]`)].map((p) =>
            p.getBBox().height)))
        """
    )
    assert len(heights) == 2
    assert heights[1] / heights[0] == pytest.approx(totals[1] / totals[0], rel=0.02)


def column(table: Any, number: int) -> list[str]:
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows]


def test_tables_are_sorted_by_keyboard(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["eight"])
    table = browser.find_element(By.CSS_SELECTOR, "#latency table")
    head = table.find_elements(By.CSS_SELECTOR, "thead th")[2]
    before = column(table, 2)
    for way, reverse in (("ascending", False), ("descending", True)):
        head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == way
        assert column(table, 2) == sorted(before, key=float, reverse=reverse)
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") is None
    assert column(table, 2) == before


def test_what_is_missing_and_totals_stay_last(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["trouble"])
    table = browser.find_element(By.CSS_SELECTOR, "#latency table")
    head = table.find_elements(By.CSS_SELECTOR, "thead th button")[2]
    for _ in range(2):
        head.send_keys(Keys.ENTER)
        assert column(table, 2)[2:] == ["–", "–"]
    table = browser.find_element(By.CSS_SELECTOR, "#breakdown table")
    for reverse in (False, True):
        table.find_elements(By.CSS_SELECTOR, "thead th button")[1].send_keys(Keys.ENTER)
        assert column(table, 0)[-1] == "Latency (p50)"
        times = [float(cell) for cell in column(table, 1)[:-1]]
        assert times == sorted(times, reverse=reverse)


def test_rows_are_filtered(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["fifty"])
    box = browser.find_element(By.CSS_SELECTOR, "#latency .table")
    field = box.find_element(By.CSS_SELECTOR, "input[type=search]")
    field.send_keys("MOBILEVIT_XS 2,5,2")
    assert column(box, 0) == ["F: mobilevit_xs 2,5,2"]
    assert box.find_element(By.TAG_NAME, "output").text == "1 of 50 rows"
    field.clear()
    field.send_keys("x", Keys.BACKSPACE)
    assert len(column(box, 0)) == 50


def test_cases_are_switched_off_everywhere(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["eight"])
    browser.find_element(By.CSS_SELECTOR, "#tools summary").send_keys(Keys.ENTER)
    browser.find_element(By.CSS_SELECTOR, '#tools input[value="C"]').send_keys(Keys.SPACE)
    for chart in ("latency", "categories"):
        plot, seen = plot_of(browser, chart), set()
        press(plot, Keys.HOME)
        while (said := tuple(readout(browser, plot))) not in seen:
            seen.add(said)
            press(plot, Keys.ARROW_DOWN)
        assert {said[0][:2] for said in seen} == {f"{key}:" for key in "ABDEFGH"}
    rows = browser.find_element(By.CSS_SELECTOR, "#latency table")
    assert [cell[0] for cell in column(rows, 0)] == [*"ABDEFGH"]
    heads = browser.find_elements(By.CSS_SELECTOR, "#breakdown table th[scope=col]")
    shown = {h.text.split(",")[0] for h in heads if h.is_displayed()}
    assert "C" not in shown and {"A", "B", "D"} <= shown
    titles = [t.text for t in browser.find_elements(By.CSS_SELECTOR, ".table h3")]
    assert "From A to D: where the difference comes from" in titles
    assert "From A to C: where the difference comes from" not in titles
    options = browser.find_elements(By.CSS_SELECTOR, '[data-chart="timeline"] option')
    assert [option.text[0] for option in options] == [*"ABDEFGH"]
    summary = browser.find_element(By.CSS_SELECTOR, "#tools summary")
    assert summary.text == "Cases shown: 7 of 8"
    browser.find_element(By.CSS_SELECTOR, '#tools input[value="A"]').send_keys(Keys.ESCAPE)
    assert browser.find_element(By.CSS_SELECTOR, "#tools .choice").is_displayed() is False


def test_no_case_at_all_breaks_nothing(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["two"])
    browser.get_log("browser")
    browser.find_element(By.CSS_SELECTOR, "#tools summary").send_keys(Keys.ENTER)
    every, none = browser.find_elements(By.CSS_SELECTOR, "#tools .choice button")
    none.send_keys(Keys.ENTER)
    assert not browser.find_element(By.CSS_SELECTOR, "#latency .table").is_displayed()
    every.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "#latency .table").is_displayed()
    assert len(browser.find_elements(By.CSS_SELECTOR, '[data-chart="modules"] svg')) == 2
    assert browser.get_log("browser") == []


# ---------------------------------------------------------------- themes, paper, no JavaScript


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


PAIRS = """
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  const words = "h1, p, th, td, a, button, summary, .badge, code, li";
  for (const e of document.querySelectorAll(words)) {
    if (!e.textContent.trim() || !e.getClientRects().length) continue;
    found[getComputedStyle(e).color + " on " + behind(e)] = e.className || e.tagName;
  }
  return found;
"""


@pytest.mark.parametrize("name", ["two", "trouble"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_are_readable_in_both_themes(
    browser: Any, pages: dict[str, str], name: str, theme: str
) -> None:
    media(browser, theme=theme)
    open_page(browser, pages[name])
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.5) == (theme == "light")
    found = browser.execute_script(PAIRS)
    assert len(found) > 4
    for pair, where in found.items():
        assert contrast(*pair.split(" on ")) >= 4.5, (pair, where)
    fills = browser.execute_script(
        """return [...document.querySelectorAll('[data-chart="latency"] svg text')]
        .map((t) => getComputedStyle(t).fill)"""
    )
    assert fills and all(contrast(fill, paper) >= 4.5 for fill in fills)


def test_the_theme_is_switched(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["two"])
    papers = []
    for _ in range(3):
        script = "return getComputedStyle(document.body).backgroundColor"
        papers.append(luminance(browser.execute_script(script)) > 0.5)
        browser.find_element(By.ID, "theme").send_keys(Keys.ENTER)
    assert papers == [True, False, True]


def test_paper_has_everything(browser: Any, pages: dict[str, str]) -> None:
    media(browser, theme="dark")
    open_page(browser, pages["eight"])
    browser.find_element(By.CSS_SELECTOR, "#operators input[type=search]").send_keys("no such row")
    paper = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(paper))) > 5
    media(browser, "print", theme="dark")
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert luminance(colour) > 0.9
    shown = {
        name: [e.is_displayed() for e in browser.find_elements(By.CSS_SELECTOR, selector)]
        for name, selector in (
            ("rows", "#operators tbody tr"),
            ("figures", "figure.still"),
            ("tools", "#tools"),
            ("filters", ".sieve"),
        )
    }
    assert all(shown["rows"]) and len(shown["rows"]) > 20
    assert all(shown["figures"]) and len(shown["figures"]) == 4
    assert not any(shown["tools"] + shown["filters"])


def test_folded_parts_are_open_on_paper_only(browser: Any, pages: dict[str, str]) -> None:
    media(browser, theme="dark")
    open_page(browser, pages["two"])
    state = "return [...document.querySelectorAll('main details')].map((d) => d.open)"
    before = browser.execute_script(state)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(browser.execute_script(state)) and not all(before)
    wide = "return Math.max(...[...document.querySelectorAll('svg')].map((s) => s.clientWidth))"
    assert browser.execute_script(wide) <= 680
    fill = "return getComputedStyle(document.querySelector('svg text')).fill"
    assert contrast(browser.execute_script(fill), "rgb(255, 255, 255)") >= 4.5
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(state) == before
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert luminance(paper) < 0.1
    assert contrast(browser.execute_script(fill), paper) >= 4.5


def test_without_javascript_all_is_there(browser: Any, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, pages["two"], 400)
        for selector in (".answer", "figure.still", "#latency table", "#findings summary"):
            found = browser.find_elements(By.CSS_SELECTOR, selector)
            assert found and all(e.is_displayed() for e in found), selector
        for selector in ("#tools", ".chart"):
            found = browser.find_elements(By.CSS_SELECTOR, selector)
            assert found and not any(e.is_displayed() for e in found), selector
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_every_chart_stands_in_the_place_of_a_picture(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["eight"])
    drawn = browser.find_elements(By.CSS_SELECTOR, ".chart:not([hidden])")
    assert {e.get_attribute("data-chart") for e in drawn} == interactive.CHARTS
    figures = browser.find_elements(By.CSS_SELECTOR, "figure")
    assert {e.get_attribute("data-picture") for e in figures} == interactive.CHARTS
    assert not any(e.is_displayed() for e in figures)


def test_a_picture_without_a_chart_stays(
    browser: Any, views: dict[str, Any], tmp_path: Path
) -> None:
    view = views["two"]
    block = document.Picture("another", "Another figure", "What it shows.")
    svg = PICTURE + b" " * 3_000_000
    lead = html.Lead((), interactive.text(view))
    sections = [document.Section("new", "New", (block,)), *document.sections(view)]
    page = tmp_path / "page.html"
    page.write_text(html.page("Title", "about", sections, lambda _: svg, lead), encoding="utf-8")
    open_page(browser, page.as_uri())
    (shown,) = (e for e in browser.find_elements(By.TAG_NAME, "figure") if e.is_displayed())
    assert shown.find_element(By.TAG_NAME, "img").get_attribute("alt") == "What it shows."
    # Those with a chart are left out, as they are too large.
    assert len(browser.find_elements(By.CSS_SELECTOR, "figure img")) == 1


def test_a_link_opens_a_folded_part(browser: Any, pages: dict[str, str]) -> None:
    open_page(browser, pages["two"])
    part = browser.find_element(By.CSS_SELECTOR, "#conditions > details")
    assert not part.get_property("open")
    browser.find_element(By.CSS_SELECTOR, 'nav a[href="#conditions"]').send_keys(Keys.ENTER)
    assert part.get_property("open")


def test_the_answer_comes_first(browser: Any, pages: dict[str, str]) -> None:
    expected = {
        "two": ("mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2", "reliable"),
        "single": ("5.159 ms", "reliable"),
        "trouble": ("From 4.573 ms", "not decided"),
        "fifty": ("None is faster than A", "reliable"),
    }
    for name, words in expected.items():
        open_page(browser, pages[name])
        answer = browser.find_element(By.CSS_SELECTOR, "main .answer")
        texts = [e.text for e in answer.find_elements(By.CSS_SELECTOR, ".headline, .badge")]
        assert all(any(word in text for text in texts) for word in words), (name, texts)
        first = browser.execute_script(
            """
            const shown = [...document.querySelectorAll("main .answer, main .chart, main table")];
            const top = (e) => e.getBoundingClientRect().top;
            return shown.filter((e) => e.getClientRects().length).sort((a, b) => top(a) - top(b))[0]
            """
        )
        assert first == answer
