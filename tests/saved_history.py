"""Synthetic histories: runs of one case, day after day."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mvdeploy.records import BaselineCase
from mvdeploy.records.history import HistoryEntry
from mvdeploy.records.run import save_case, save_run
from tests.saved_runs import measurement, one_case


def name_of(day: int) -> str:
    return f"2026-03-{day:02d}-100000-host"


def entries(
    levels: list[float], seed: int = 1, noise: float = 0.01, **conditions: str
) -> list[HistoryEntry]:
    """Return a result a day, about at the levels (ms)."""
    rng = np.random.default_rng(seed)
    made = []
    for day, level in enumerate(levels, 1):
        ms = level * float(np.exp(rng.normal(0, noise)))
        times = ms * 1e6 * np.exp(rng.normal(0, 0.003, (4, 30)))
        sessions = tuple(tuple(int(t) for t in session) for session in times)
        alike = {"device": "host", "engine": "onnxruntime", "format": "onnx", "precision": "fp32"}
        case = BaselineCase(
            "case", "net 2,2,2", {**alike, "threads": 1, **conditions}, sessions, (9,), (9,), {}, 9
        )
        created = f"2026-03-{day:02d}T10:00:00+00:00"
        made.append(HistoryEntry(name_of(day), created, "0.1.0", "ab", {"network": "net"}, case))
    return made


def save_runs(root: Path, levels: list[float], seed: int = 1, noise: float = 0.01) -> list[Path]:
    """Write runs of one case as 'mvdeploy bench' saves them, about at the levels (ms)."""
    rng = np.random.default_rng(seed)
    base = one_case().saved
    folders = []
    for day, level in enumerate(levels, 1):
        ms = level * float(np.exp(rng.normal(0, noise)))
        run = dataclasses.replace(
            base.run, name=name_of(day), created=f"2026-03-{day:02d}T10:00:00+00:00"
        )
        folders.append(root / name_of(day))
        folders[-1].mkdir(parents=True)
        save_run(run, folders[-1])
        measured = measurement(day + 50, ms, 40, 4)
        save_case(dataclasses.replace(base.cases[0], measurement=measured), folders[-1])
    return folders
