from __future__ import annotations

import dataclasses
import io
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from mvdeploy import plugins
from mvdeploy.report import document, figures
from mvdeploy.report.figures import _style, _text

NAMES = ("categories", "latency", "modules", "timeline")
ASKED_FOR = {"pipeline", "sustained"}
"""Figures of what a run has only where it was asked for; they have tests of their own."""

STORIES = ("two", "single", "four", "eight", "trouble", "hostile_story")


def drawn(view: Any, name: str) -> Figure:
    made: Figure = plugins.load("mvdeploy.report.figures", name, "figure").draw(view)
    made.draw_without_rendering()
    return made


def texts(made: Figure) -> list[tuple[str, Any]]:
    """Every text that is seen, with its box in pixels."""
    found = []
    outside = set()
    for axes in made.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    outside |= {tick.label1, tick.label2}
    for text in made.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in outside:
            box = text.get_window_extent()
            found.append((text.get_text(), box))
    return found


def test_every_figure_of_a_report_has_a_file(two: Any, view_for: Any) -> None:
    pictures = document.pictures(view_for(two))
    assert {p.name for p in pictures} == set(NAMES)
    assert {*NAMES, *ASKED_FOR} == set(plugins.names("mvdeploy.report.figures"))
    assert all(p.alt.endswith(".") and len(p.alt) > 60 for p in pictures)


@pytest.mark.parametrize("story", STORIES)
def test_figures_are_told_in_two_sentences(
    story: str, view_for: Any, request: pytest.FixtureRequest
) -> None:
    for picture in document.pictures(view_for(request.getfixturevalue(story))):
        assert picture.alt.count(". ") <= 1 or story == "hostile_story"
        assert len(picture.alt) < 500


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("story", STORIES)
def test_no_text_overlaps_another_or_leaves_the_figure(
    name: str, story: str, view_for: Any, request: pytest.FixtureRequest
) -> None:
    view = view_for(request.getfixturevalue(story))
    with _style.applied(view):
        demand_apart(drawn(view, name))


def demand_apart(made: Figure) -> None:
    """Demand that no text overlaps another or leaves the figure."""
    found = texts(made)
    assert len(found) > 3
    edge = made.bbox
    for text, box in found:
        assert edge.x0 - 1 <= box.x0 and box.x1 <= edge.x1 + 1, text
        assert edge.y0 - 1 <= box.y0 and box.y1 <= edge.y1 + 1, text
    for (a, box), (b, other) in itertools.combinations(found, 2):
        wide = min(box.x1, other.x1) - max(box.x0, other.x0)
        high = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert wide <= 1 or high <= 1, f"{a!r} overlaps {b!r}"


def test_segments_and_totals_are_labelled(two: Any, view_for: Any) -> None:
    view = view_for(two)
    with _style.applied(view):
        said = " ".join(text for text, _ in texts(drawn(view, "categories")))
    for case in view.cases:
        assert f"{case.breakdown.total_ns / 1e6:.3f} ms" in said
        assert f"{case.breakdown.parts[1].ns / 1e6:.3f}\n" in said


def test_dollar_signs_are_no_mathematics(hostile_story: Any, view_for: Any) -> None:
    view = view_for(hostile_story)
    with _style.applied(view):
        made = drawn(view, "timeline")
        said = [text for text, _ in texts(made)]
    assert any("$" in text for text in said)
    assert not any(text.get_parse_math() for text in made.findobj(Text))


def test_png_has_its_resolution_and_is_the_same_each_time(single: Any, view_for: Any) -> None:
    first, again = (figures.image(view_for(single), "categories", "png") for _ in range(2))
    assert first == again
    image = Image.open(io.BytesIO(first))
    assert image.width == figures.DPI * _style.WIDTH
    assert round(image.info["dpi"][0]) == figures.DPI


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_well_formed_and_needs_nothing_from_outside(
    hostile_story: Any, view_for: Any, name: str
) -> None:
    svg = figures.image(view_for(hostile_story), name, "svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    # Text is drawn as shapes, so that it looks the same everywhere.
    assert not tags & {"script", "text", "foreignObject", "a"}
    assert b"font-family" not in svg


def test_user_settings_do_not_matter(single: Any, view_for: Any) -> None:
    import matplotlib as mpl

    plain = figures.image(view_for(single), "modules", "png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "text.parse_math": True}):
        assert figures.image(view_for(single), "modules", "png") == plain


@pytest.fixture
def named(two: Any, view_for: Any) -> Any:
    """Return a function that gives the view of a run whose first case has a name."""

    def name(label: str) -> Any:
        a, b = two.saved.cases
        saved = dataclasses.replace(two.saved, cases=(dataclasses.replace(a, label=label), b))
        return view_for(dataclasses.replace(two, saved=saved))

    return name


@pytest.fixture
def square_font(tmp_path: Path) -> Iterator[str]:
    """A font whose only letter is one that ours lacks; it is installed meanwhile."""
    pen = TTGlyphPen(None)
    for at, corner in enumerate(((0, 0), (0, 800), (900, 800), (900, 0))):
        (pen.lineTo if at else pen.moveTo)(corner)
    pen.closePath()
    maker = FontBuilder(1000, isTTF=True)
    maker.setupGlyphOrder([".notdef", "square"])
    maker.setupCharacterMap({ord("模"): "square"})
    maker.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    maker.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    maker.setupHorizontalHeader(ascent=800, descent=-200)
    maker.setupOS2()
    maker.setupPost()
    maker.setupNameTable({"familyName": "Square Sans", "styleName": "Regular"})
    maker.save(tmp_path / "square.ttf")
    installed = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "square.ttf")
    _text.families.cache_clear()
    yield "Square Sans"
    font_manager.fontManager.ttflist[:] = installed
    font_manager.fontManager._findfont_cached.cache_clear()
    _text.families.cache_clear()


def test_letters_that_our_font_lacks_are_drawn_with_one_that_has_them(
    named: Any, square_font: str
) -> None:
    view = named("模 model é")
    assert _text.families(_text.letters(view)) == ((square_font,), frozenset())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.image(view, "latency", "png")
        figures.image(view, "latency", "svg")
    with _style.applied(view):
        assert "A: 模 model é" in {text for text, _ in texts(drawn(view, "latency"))}


def test_letters_that_no_font_has_are_named(named: Any) -> None:
    view = named("\U0001fae0 model \U0001fae1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.image(view, "latency", "png")
    assert _text.note(view).endswith("has: U+1FAE0, U+1FAE1")
    with _style.applied(view):
        assert "A: □ model □" in {text for text, _ in texts(drawn(view, "latency"))}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "label", ["W" * 3000, "模型" * 40, "модель_" * 30, "🚀👩\u200d👩\u200d👧 " * 9]
)
def test_long_names_stay_apart(named: Any, name: str, label: str) -> None:
    """Also where they are wide, in scripts without spaces, and without any place to break."""
    view = named(label)
    with _style.applied(view):
        demand_apart(drawn(view, name))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("a_long_name.of_a_thing", ["a_long_", "name.of_", "a_thing"]),
        ("x" * 20, ["x" * 9, "x" * 9, "xx"]),
        ("x" * 200, None),
    ],
)
def test_wrapping(text: str, lines: list[str] | None) -> None:
    made = _text.wrapped(text, 9, 3).split("\n")
    assert len(made) <= 3
    assert max(map(len, made)) <= 9
    assert made == lines or (lines is None and "…" in "".join(made))
