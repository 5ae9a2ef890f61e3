"""Every row of docs/cases.md names a test that exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8").splitlines()
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in cells if not set(row[0]) <= {"-"}]


@functools.cache
def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test_that_exists() -> None:
    named = [row for row in rows() if row[0] != "situation"]
    assert len(named) > 20
    for situation, outcome, test in named:
        assert situation.endswith(".") and outcome.endswith(".")
        found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", test)
        assert found, test
        assert found[2] in functions_in(found[1]), test


def test_nothing_is_said_to_be_on_an_index_that_is_not() -> None:
    """mvdeploy itself is not published; what is said to be installed by its name would fail."""
    texts = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("mvdeploy/**/*.py")]
    wrong = re.compile(r"pip install\s+[\"']?mvdeploy\b")
    assert [path.name for path in texts if wrong.search(path.read_text("utf-8"))] == []
