"""The studies under ``reports/`` are what the program makes of their saved runs today.

    mvdeploy report reports/table6-host

renders one again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.warm import ROOT, Server

STUDIES = sorted(path.parent for path in (ROOT / "reports").glob("*/study.json"))
IMAGES = re.compile(r'src="data:[^"]*"')


def test_there_are_some_and_the_readme_shows_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in STUDIES} == {"figure8-host", "layers-host", "table6-host"}
    assert all(f"(reports/{path.name}/report.md)" in readme for path in STUDIES)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_the_same_words_and_numbers(warm: Server, tmp_path: Path, folder: Path) -> None:
    done = warm.mvdeploy("report", str(folder), "-o", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("report.md", "study.csv"):
        assert (tmp_path / name).read_text("utf-8") == (folder / name).read_text("utf-8"), name
    made, shown = (
        IMAGES.sub("", (where / "report.html").read_text("utf-8")) for where in (tmp_path, folder)
    )
    assert made == shown
    figures = [
        {path.name for path in (where / "figures").iterdir()} for where in (tmp_path, folder)
    ]
    assert figures[0] == figures[1] != set()
