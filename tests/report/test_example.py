"""The example that the README shows is what the program makes of its saved run today.

    mvdeploy report reports/example-host

renders it again.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.warm import ROOT, Server

EXAMPLE = ROOT / "reports" / "example-host"
IMAGES = re.compile(r'src="data:[^"]*"')


@pytest.fixture(scope="module")
def rendered(warm: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    done = warm.mvdeploy("report", str(EXAMPLE), "-o", str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_same_files(rendered: Path) -> None:
    saved = {"run.json", "comparisons.json", "sessions.json", "cases"}
    made = {str(path.relative_to(rendered)) for path in rendered.rglob("*") if path.is_file()}
    shown = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*") if path.is_file()}
    assert made == {name for name in shown if name.split("/")[0] not in saved}


def test_the_same_words(rendered: Path) -> None:
    words = [(folder / "report.md").read_text("utf-8") for folder in (rendered, EXAMPLE)]
    assert words[0].splitlines() == words[1].splitlines()
    # How figures are drawn in detail is matplotlib's.
    pages = [(folder / "report.html").read_text("utf-8") for folder in (rendered, EXAMPLE)]
    made, shown = (IMAGES.sub("", page).splitlines() for page in pages)
    assert made == shown
    assert len(IMAGES.findall(pages[0])) == 4


def test_the_same_numbers(rendered: Path) -> None:
    names = sorted(path.name for path in EXAMPLE.glob("*.csv"))
    assert len(names) == 5
    for name in names:
        made, shown = (
            list(csv.reader((folder / name).read_text("utf-8").splitlines()))
            for folder in (rendered, EXAMPLE)
        )
        assert len(made) == len(shown), name
        assert all(map(_same, _flat(made), _flat(shown))), name


def _flat(rows: list[list[str]]) -> list[str]:
    return [cell for row in rows for cell in (*row, "\n")]


def _same(one: str, other: str) -> bool:
    try:
        # The last digits are those of NumPy and SciPy, by version.
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except ValueError:
        return one == other


def test_the_same_figures(rendered: Path) -> None:
    for shown in (EXAMPLE / "figures").iterdir():
        with Image.open(shown) as old, Image.open(rendered / "figures" / shown.name) as new:
            assert old.size == new.size, shown.name
            difference = ImageChops.difference(old.convert("RGB"), new.convert("RGB"))
        assert max(ImageStat.Stat(difference).mean) < 1, shown.name
