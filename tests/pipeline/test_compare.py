"""Comparing as a user does it: real exports, real engines, real turns; only smaller and shorter."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.pipeline.compare import compare_results
from mvdeploy.pipeline.report import view
from mvdeploy.records.run import load_run, save_case
from tests.conftest import MakeExport
from tests.saved_runs import without_checksum
from tests.warm import Server, started

SIZE = ("--image-size", "64")
SHORT = ("--groups", "4", "--max-time", "0.1", "--warmup", "3")
QUICK = ("--iterations", "60", "--sessions", "4", "--warmup", "3", "--no-breakdown")
Finished = tuple[Path, str]
Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mvdeploy(warm: Server) -> Mvdeploy:
    return lambda folder, *arguments: warm.mvdeploy(*arguments, cwd=folder)


@pytest.fixture(scope="module")
def file(exported: MakeExport) -> Path:
    return exported(patches="2,2,2", size="64").path


@pytest.fixture(scope="module")
def compared(mvdeploy: Mvdeploy, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A against B, and what the command printed."""
    folder = tmp_path_factory.mktemp("compare")
    patches = ("--patches", "2,2,2", "--patches", "8,4,2")
    done = mvdeploy(folder, "compare", "mobilevit_xxs", *patches, *SIZE, *SHORT)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "reports").iterdir()
    return run, done.stdout


def test_both_take_turns_in_counterbalanced_groups(compared: Finished) -> None:
    saved = load_run(compared[0])
    (comparison,) = saved.comparisons
    assert [group.first_created for group in comparison.groups].count(1) == 2
    assert len(comparison.groups) == 4
    for case in saved.cases:
        assert case.measurement is not None
        assert len(case.measurement.steady) == 0
        assert case.parity is not None and case.parity.passed


def test_the_answer_is_in_words_with_its_evidence(compared: Finished) -> None:
    out = " ".join(compared[1].split())
    assert re.search(r"ratio \d\.\d+, 95 % interval \d\.\d+–\d\.\d+, CPU time, 4 groups", out)
    assert "detectable from" in out
    assert "CPU time decides, because" in out
    assert "by wall time:" in out
    assert "Can it be relied on?" in out


def test_the_parts_add_up_to_the_paired_difference(compared: Finished) -> None:
    found = view(compared[0])
    (difference,) = found.differences
    (comparison,) = found.comparisons
    assert comparison.estimate is not None and difference.paired
    *parts, total = difference.rows
    assert sum(row.b_ns - row.a_ns for row in parts) == pytest.approx(total.b_ns - total.a_ns)
    assert total.b_ns / total.a_ns == pytest.approx(comparison.estimate.ratio)
    assert "From A to B" in compared[1]


def test_the_json_says_the_same(mvdeploy: Mvdeploy, compared: Finished) -> None:
    done = mvdeploy(compared[0].parent, "report", "--json", str(compared[0]))
    found: dict[str, Any] = json.loads(done.stdout)
    (comparison,) = found["comparisons"]
    assert comparison["verdict"] in ("faster", "slower", "no difference detected")
    estimate = comparison["estimate"]
    assert estimate["low"] <= estimate["ratio"] <= estimate["high"]
    assert estimate["detectable"] > 0
    assert comparison["clock"] == "cpu" and "one thread" in comparison["clock_reason"]
    assert comparison["reliability"]["verdict"] in ("reliable", "unreliable")
    (difference,) = found["differences"]
    assert {part["part"] for part in difference["parts"]} >= {"Attention", "FFN"}
    # The latencies say that they are of turns.
    assert all(case["in_turns"] for case in found["cases"])
    assert "latency_in_turns" in {finding["code"] for finding in found["findings"]}


def test_two_engines_take_turns_and_gates_decide(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    formats = ("--format", "onnx", "--format", "pytorch")
    arguments = ("compare", "mobilevit_xxs", *formats, *SIZE, *SHORT)
    gates = ("--fail-on", "p50:0.1%", "--fail-on", "attention:100%")
    done = mvdeploy(tmp_path, *arguments, *gates, "--json")
    found = json.loads(done.stdout)
    (comparison,) = found["comparisons"]
    assert {case["engine"] for case in found["cases"]} == {"onnxruntime", "pytorch"}
    assert all(case["breakdown"] for case in found["cases"])
    # PyTorch runs the same network operator by operator: it is far slower.
    assert comparison["verdict"] == "slower"
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if "failed" in line]
    assert len(failed) == 1
    assert failed[0].startswith("Gate p50:0.1% failed: mobilevit_xxs 2,2,2 PyTorch takes")
    assert "Gate attention:100% passed" in done.stderr


def test_the_same_model_twice_is_one_export(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    twice = ("compare", "yardstick", "yardstick", "--no-breakdown", *SHORT)
    done = mvdeploy(tmp_path, *twice)
    assert done.returncode == 0, done.stderr
    assert "yardstick #2" in done.stdout
    assert done.stderr.count("export to onnx") == 1


def test_files_are_compared_in_the_order_they_are_given(
    mvdeploy: Mvdeploy, file: Path, tmp_path: Path
) -> None:
    arguments = ("compare", str(file), "yardstick", "--no-breakdown", *SHORT, "--json")
    found = json.loads(mvdeploy(tmp_path, *arguments).stdout)
    assert [case["label"] for case in found["cases"]] == [
        f"mobilevit_xxs 2,2,2 depths=1,1,1 ({file.name})",
        "yardstick",
    ]


# Saved results


@pytest.fixture(scope="module")
def benched(
    mvdeploy: Mvdeploy, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run and its baseline."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ("bench", str(file), *QUICK)
    done = mvdeploy(folder, *arguments, "--save-baseline", "base.json", "--fail-on", "p50:9s00ms")
    assert done.returncode == 2  # that gate is none
    assert not (folder / "base.json").exists()
    gates = ("--fail-on", "p50:10000ms", "--fail-on", "memory:100000MB")
    done = mvdeploy(folder, *arguments, "--save-baseline", "base.json", *gates)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "reports").iterdir()
    return run, folder / "base.json"


def test_a_result_is_no_different_from_itself(
    mvdeploy: Mvdeploy, benched: tuple[Path, Path]
) -> None:
    run, baseline = benched
    done = started("compare", str(run), str(baseline), cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert "No difference detected" in done.stdout
    assert "not paired" in done.stdout
    assert "below 5 % says nothing" in done.stdout
    found = json.loads(mvdeploy(run.parent, "compare", str(run), str(run), "--json").stdout)
    assert found[0]["paired"] is False
    assert found[0]["estimate"]["ratio"] == 1


def test_unlike_conditions_are_refused(
    mvdeploy: Mvdeploy, benched: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(benched[0], other)
    saved = load_run(other)
    (case,) = saved.cases
    device = saved.device_of(case)
    identity = {**device.identity, "kernel": "Linux 9.9", "os": "Another 1"}
    changed = dataclasses.replace(device, identity=identity)
    save_case(dataclasses.replace(case, device=changed), other)
    with pytest.raises(UsageError, match=r"os is .* and Another 1 for the second"):
        compare_results(benched[0], other)
    done = mvdeploy(tmp_path, "compare", str(benched[0]), "other")
    assert done.returncode == 2
    assert "Another 1" in done.stderr


def test_a_baseline_of_a_slower_model_lets_the_same_model_pass(
    mvdeploy: Mvdeploy, benched: tuple[Path, Path], file: Path, tmp_path: Path
) -> None:
    slower = scaled(benched[1], tmp_path / "slower.json", 50.0)
    faster = scaled(benched[1], tmp_path / "faster.json", 0.02)
    arguments = ("bench", str(file), *QUICK, "--fail-on", "p50:20%")
    done = mvdeploy(tmp_path, *arguments, "--baseline", str(slower))
    assert done.returncode == 0, done.stderr
    kept = faster.read_bytes()
    done = mvdeploy(tmp_path, *arguments, "--baseline", str(faster), "--save-baseline", str(faster))
    assert done.returncode == 1
    assert re.search(r"Gate p50:20% failed: .* as long as the baseline", done.stderr)
    # A result that failed does not become the baseline.
    assert faster.read_bytes() == kept
    assert "left as it was" in done.stderr


def scaled(source: Path, target: Path, factor: float) -> Path:
    """Write a baseline whose times are longer or shorter."""
    data = without_checksum(source)
    for case in data["cases"]:
        case["sessions"] = [[int(t * factor) for t in s] for s in case["sessions"]]
    target.write_text(json.dumps(data))
    return target


def test_an_unreliable_result_can_be_refused(
    mvdeploy: Mvdeploy, file: Path, tmp_path: Path
) -> None:
    arguments = ("bench", str(file), "--iterations", "2", "--sessions", "2", "--no-breakdown")
    arguments += ("--warmup", "3")
    done = mvdeploy(tmp_path, *arguments, "--require-reliable")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "is unreliable" in line]
    assert len(lines) == 1
    # Two inferences cannot tell how well the median is known.
    assert lines[0].startswith(f"mobilevit_xxs 2,2,2 depths=1,1,1 ({file.name}) is unreliable: ")
    assert mvdeploy(tmp_path, *arguments).returncode == 0


def test_results_without_a_case_in_common(benched: tuple[Path, Path], tmp_path: Path) -> None:
    data = without_checksum(benched[1])
    case = data["cases"][0]
    data["cases"] = [{**case, "slug": "x"}, {**case, "slug": "y"}]
    (tmp_path / "b.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="no case in common"):
        compare_results(benched[0], tmp_path / "b.json")


def test_a_run_of_turns_is_no_result_by_itself(mvdeploy: Mvdeploy, compared: Finished) -> None:
    done = mvdeploy(compared[0].parent, "compare", str(compared[0]), str(compared[0]))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_anchor_runs_between_the_blocks(mvdeploy: Mvdeploy, file: Path, tmp_path: Path) -> None:
    times = ("--min-time", "1", "--max-time", "1", "--sessions", "2", "--no-breakdown")
    times += ("--warmup", "3")
    done = mvdeploy(tmp_path, "bench", str(file), "--anchor", *times)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "reports").iterdir()
    (case,) = load_run(folder).cases
    assert case.measurement is not None
    for session in case.measurement.sessions:
        assert len(session.anchor) > 0
        # A tenth of the time as it was estimated, however long each took then.
        assert len(session.anchor) < len(session.steady)
    (judged,) = view(folder).cases
    assert judged.verdict is not None
    assert "anchor" in {signal.code for signal in judged.verdict.signals}
