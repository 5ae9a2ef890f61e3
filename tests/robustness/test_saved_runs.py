"""A real run with one damage after the other: refused, or shown as the files say."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mvdeploy.errors import UsageError
from mvdeploy.pipeline.compare import compare_results
from mvdeploy.pipeline.report import view
from mvdeploy.report import renderer
from tests.conftest import MakeExport
from tests.robustness.damages_json import damages
from tests.saved_runs import without_checksum
from tests.warm import Server

CASE = "cases/mobilevit_xxs-depths-1-1-1-p2-2-2-64.onnx"
FILES = (
    *("run.json", "comparisons.json", "sessions.json"),
    *(f"{CASE}/{part}.json" for part in ("case", "artifact", "trace", "device_parity")),
)
TRIED = 12
"""Damages to each file, of a thousand and more."""


@pytest.fixture(scope="module")
def run(warm: Server, exported: MakeExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    files = [str(exported(patches="2,2,2", size="64").path)] * 2
    short = ("--iterations", "24", "--sessions", "2", "--warmup", "3")
    done = warm.mvdeploy("bench", *files, *short, "-o", "runs", cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "runs").iterdir()
    return found


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_run_is_refused_or_shown_as_it_is(run: Path, tmp_path: Path, file: str) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("profile", "artifacts", "figures"))
    document = without_checksum(copy / file)
    _, errors = shown(run)
    refused = 0
    for name, damaged in some(document, f"{file} 14"):
        (copy / file).write_text(json.dumps(damaged))
        try:
            found, still = shown(copy)
        except UsageError as error:
            refused += 1
            assert str(copy) in error.message and "\n" not in error.message, name
            continue
        # What was asked for decides what is wrong with what came of it.
        assert still >= errors or name.startswith("plan"), name
        assert found == samples(copy), name
        try:
            compare_results(run, copy)
        except UsageError as error:
            assert error.message, name
    assert refused > 0


def some(document: object, seed: str) -> Iterator[tuple[str, object]]:
    count = sum(1 for _ in damages(document))
    chosen = {*random.Random(seed).sample(range(count), TRIED)}
    return (one for number, one in enumerate(damages(document)) if number in chosen)


def shown(folder: Path) -> tuple[dict[str, Any], Counter[str]]:
    """Return the samples of each case, and how often each error is told, as reports show them."""
    of_run = view(folder)
    renderer("terminal").show(of_run, Console(file=io.StringIO(), width=100))
    data = json.loads(renderer("json").text(of_run))
    times = [t for case in data["cases"] for t in (case["latency_ms"] or {}).values()]
    assert all(time is None or time >= 0 for time in times)
    errors = Counter(f.code for f in of_run.findings if f.level == "error" for _ in f.subjects)
    return {case["slug"]: case["raw_samples_ms"] for case in data["cases"]}, errors


def samples(folder: Path) -> dict[str, Any]:
    """Return the samples of each case as the files say."""
    found = {}
    for path in folder.glob("cases/*/case.json"):
        body = json.loads(path.read_text())
        sessions = (body["measurement"] or {"sessions": ()})["sessions"]
        found[body["slug"]] = [[t / 1e6 for t in s["steady"]["wall_ns"]] for s in sessions]
    return found
