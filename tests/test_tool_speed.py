"""The table of docs/performance.md on the tool itself is what was measured, and is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tool_speed
from benchmarks.tool_speed import COMMANDS, Cost

DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"


def test_the_document_has_what_was_measured() -> None:
    assert tool_speed.markdown(tool_speed.costs()) in DOCUMENT.read_text(encoding="utf-8")


def test_every_command_was_measured_on_one_thread() -> None:
    measured = {cost.command for cost in tool_speed.costs() if cost.threads == "one"}
    assert measured == set(COMMANDS)


def test_rows_take_the_place_of_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_speed, "TABLE", tmp_path / "table.csv")
    first, other = (Cost("report", way, 3, 2.5, 1.5, 0.6, 130, 100) for way in ("one", "default"))
    tool_speed.save([other, first])
    changed = first._replace(after_s=1.4)
    tool_speed.save([changed])
    assert tool_speed.costs() == [changed, other]


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 2"):
        tool_speed.once(["describe", "no_such_model"], tool_speed.ROOT, tmp_path, {})
