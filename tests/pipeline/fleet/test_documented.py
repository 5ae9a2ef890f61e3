"""What docs/fleet.md says of faults is held by tests, and one file alone knows distributed."""

from __future__ import annotations

import re
from pathlib import Path

import mvdeploy
from tests.test_docs_cases import functions_in

ROOT = Path(__file__).parents[3]


def test_every_fault_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", text, re.MULTILINE)
    table = text[text.index("## What goes wrong") :]
    assert len(named) == table.count("\n|") - 2 and len(named) > 8
    assert [test for path, test in named if test not in functions_in(path)] == []


def test_one_file_alone_imports_distributed() -> None:
    package = Path(mvdeploy.__file__).parent
    knowing = re.compile(r"^\s*(import|from) (distributed|dask)\b", re.MULTILINE)
    found = [path.name for path in package.rglob("*.py") if knowing.search(path.read_text("utf-8"))]
    assert found == ["cluster.py"]
