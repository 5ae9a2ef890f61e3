from __future__ import annotations

import time
from pathlib import Path

import pytest

from mvdeploy.records import UNAVAILABLE
from mvdeploy.runners import process
from mvdeploy.runners.process import Usage

COUNTS = {"faults_minor": 5, "switches_voluntary": 7}


def threads(folder: Path, **texts: str | None) -> Path:
    for name, text in texts.items():
        (folder / name).mkdir()
        if text is not None:
            (folder / name / "schedstat").write_text(text)
    return folder


def test_delays_are_read_for_each_thread(tmp_path: Path) -> None:
    found = process.run_delays_ns(threads(tmp_path, a="900 40 3\n", b="0 0 0\n", c="20 5 1\n"))
    assert found == {"a": 40, "b": 0, "c": 5}


def test_a_thread_that_ends_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    assert process.run_delays_ns(threads(tmp_path, a="900 40 3\n", gone=None)) == {"a": 40}


@pytest.mark.parametrize("texts", [{}, {"a": None}, {"a": "0 0 0\n", "b": "0 0 0\n"}])
def test_a_system_that_does_not_count_tells_nothing(
    tmp_path: Path, texts: dict[str, str | None]
) -> None:
    assert process.run_delays_ns(threads(tmp_path, **texts)) == {}
    assert process.run_delays_ns(tmp_path / "none") == {}


def test_use_is_the_difference_of_two_moments() -> None:
    before = Usage({"main": 100, "ended": 50}, COUNTS)
    after = Usage({"main": 130, "new": 8}, {"faults_minor": 6, "switches_voluntary": 7})
    assert after.since(before) == {"run_delay_ns": 38, "faults_minor": 1, "switches_voluntary": 0}


@pytest.mark.parametrize(("before", "after"), [({}, {}), ({"main": 1}, {}), ({}, {"main": 1})])
def test_a_delay_that_was_told_only_once_is_unavailable(
    before: dict[str, int], after: dict[str, int]
) -> None:
    used = Usage(after, COUNTS).since(Usage(before, COUNTS))
    assert used == {"run_delay_ns": UNAVAILABLE, "faults_minor": 0, "switches_voluntary": 0}


def test_this_process_is_counted() -> None:
    before = process.usage()
    time.sleep(0.01)
    touched = bytearray(64 << 20)  # so large that it is memory which no one had before
    used = process.usage().since(before)
    delay = used.pop("run_delay_ns")
    assert delay == UNAVAILABLE or (isinstance(delay, int) and delay >= 0)
    assert all(isinstance(count, int) and count >= 0 for count in used.values())
    assert touched
    assert used["faults_minor"] > 0
    assert used["switches_voluntary"] > 0
