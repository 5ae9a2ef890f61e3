"""A run is saved while it grows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mvdeploy.pipeline.store import Store
from mvdeploy.records import Finding, Level
from mvdeploy.records.run import load_run
from tests.saved_runs import two_cases


def test_a_finding_of_several_engines_is_kept_once(tmp_path: Path) -> None:
    """What cannot be judged of a file cannot be with either of its engines."""
    store = Store(dataclasses.replace(two_cases().saved.run, cases=(), findings=()), tmp_path, ())
    for reason in ("a", "b", "a"):
        values: dict[str, str | int | float] = {"case": "x", "reason": reason}
        store.found(Finding("device_not_judged", Level.NOTE, values))
    kept = load_run(tmp_path).run.findings
    assert [finding.values["reason"] for finding in kept] == ["a", "b"]
