"""What `make docs` is given, as far as it can be told without the generator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "_toc.yml").read_text(encoding="utf-8")


def test_every_page_is_listed_once_and_is_there() -> None:
    listed = re.findall(r"^(?:root:| +- file:) (\S+)$", TABLE, re.MULTILINE)
    assert len(listed) == len(set(listed)) > 20
    assert [page for page in listed if not (ROOT / f"{page}.md").is_file()] == []
    pages = {path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    assert {str(page) for page in pages} <= set(listed)


def test_every_room_shows_its_docstring() -> None:
    text = (ROOT / "docs" / "reference" / "rooms.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE)
    rooms = {f"mvdeploy.{path.parent.name}" for path in ROOT.glob("mvdeploy/*/__init__.py")}
    assert rooms <= set(shown)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/tutorials/*.md")), ids=lambda p: p.stem)
def test_the_landing_page_leads_to_every_tutorial(page: Path) -> None:
    assert f"](tutorials/{page.name})" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
