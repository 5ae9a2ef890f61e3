"""The page of a trend says what was found, in Markdown, HTML, JSON and its figure alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mvdeploy.analysis.trends import Trend, trend_of
from mvdeploy.report import history
from mvdeploy.report.history import tables
from tests.browser import resize
from tests.saved_history import entries, name_of
from tests.saved_runs import HOSTILE

LEVELS = [5.0] * 12 + [5.25] * 8


@pytest.fixture(scope="module")
def stepped() -> Trend:
    return trend_of("ab" * 32, entries(LEVELS))


def test_all_files_have_every_run_and_the_change(stepped: Trend, tmp_path: Path) -> None:
    paths = history.write(stepped, tmp_path)
    assert [path.name for path in paths] == ["trend.md", "trend.html", "trend.png"]
    for path in paths[:2]:
        text = path.read_text("utf-8")
        for point in stepped.points:
            assert point.entry.run in text
            assert f"{point.median_ns / 1e6:.3f}" in text
        assert text.count("▲ +") == 1
        assert f"% slower since {name_of(13)} (2026-03-13 10:00)" in text
    assert "](figures/trend.png)" in paths[0].read_text("utf-8")
    assert "data:image/svg+xml" in paths[1].read_text("utf-8")
    with Image.open(paths[2]) as image:
        assert image.width == 1600
        colours = image.convert("RGB").getcolors(10**6)
    assert (0xD5, 0x5E, 0x00) in {colour for _, colour in colours or ()}  # the change


def test_json_has_the_same_numbers(stepped: Trend) -> None:
    values = json.loads(json.dumps(history.as_json(stepped)))
    assert [run["p50_ms"] * 1e6 for run in values["runs"]] == pytest.approx(
        [point.median_ns for point in stepped.points]
    )
    changes = {run["run"]: run["change"] for run in values["runs"] if run["change"]}
    assert list(changes) == [name_of(13)]
    assert changes[name_of(13)]["ratio"] == stepped.shifts[0].estimate.ratio
    assert changes[name_of(13)]["probability"] <= 0.01
    assert values["alike"]["threads"] == 1


def test_faster_is_another_mark(stepped: Trend) -> None:
    faster = trend_of("key", entries([5.25] * 10 + [5.0] * 10))
    (sentence, _) = tables.summary(faster)
    assert sentence.startswith("▼ ") and f"% faster since {name_of(11)}" in sentence


def test_what_is_said_of_few_and_of_equal_runs() -> None:
    assert tables.summary(trend_of("key", entries([5.0])))[0].startswith("1 run is too few")
    assert "which takes 12" in tables.summary(trend_of("key", entries([5.0] * 11)))[0]
    assert tables.summary(trend_of("key", entries([5.0] * 12)))[0] == (
        "No change was found in 12 runs."
    )


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_shows_every_run_in_its_width(stepped: Trend, width: int) -> None:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    history.show(stepped, console)
    console.file.close()
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert all(point.entry.run in text for point in stepped.points)
    assert all(f"{point.median_ns / 1e6:.3f}" in text for point in stepped.points)
    assert "▲" in text


def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    found = [
        dataclasses.replace(
            one,
            run=HOSTILE,
            created=HOSTILE,
            mvdeploy=HOSTILE,
            network={HOSTILE: HOSTILE},
            case=dataclasses.replace(one.case, label=HOSTILE, conditions={HOSTILE: HOSTILE}),
        )
        for one in entries(LEVELS)
    ]
    paths = history.write(trend_of("ab" * 32, found, [HOSTILE]), tmp_path)
    assert "<script>" not in paths[0].read_text("utf-8")
    assert "<script>document" not in paths[1].read_text("utf-8")
    assert "\x1b" not in paths[1].read_text("utf-8")


def test_the_chart_tells_what_the_table_has(browser: Any, stepped: Trend, tmp_path: Path) -> None:
    found = stepped
    history.write(found, tmp_path)
    resize(browser, 1280)
    browser.get((tmp_path / "trend.html").as_uri())
    (plot,) = browser.find_elements(By.CSS_SELECTOR, '[data-chart="trend"] .plot')
    assert not browser.find_element(By.CSS_SELECTOR, "figure").is_displayed()
    told = []
    plot.send_keys(Keys.HOME)
    for _ in found.points:
        told.append(browser.find_element(By.CSS_SELECTOR, ".readout").text)
        plot.send_keys(Keys.ARROW_RIGHT)
    for said, row in zip(told, tables.runs(found).rows, strict=True):
        assert said.startswith(f"{row[0]}; p50, ms {row[1]}; ± {row[2]}")
    assert "change ▲" in told[12]
    point = browser.find_elements(By.CSS_SELECTOR, ".plot svg path[fill='#0b57a4']")[3]
    ActionChains(browser).move_to_element(point).perform()
    assert name_of(4) in browser.find_element(By.CSS_SELECTOR, ".tip").text
    (head,) = [h for h in browser.find_elements(By.CSS_SELECTOR, "th button") if h.text == "Run"]
    head.click()
    head.click()
    first = browser.find_element(By.CSS_SELECTOR, "#runs tbody th").text
    assert first == name_of(20)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert browser.find_element(By.CSS_SELECTOR, "figure").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
