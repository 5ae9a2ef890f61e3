"""``mvdeploy sweep``, as docs/sweep.md shows it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import started

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

QUICK = (
    *("--format", "onnx", "--threads", "1", "--iterations", "4", "--sessions", "2"),
    *("--warmup", "1", "--no-breakdown", "-o", "out"),
)


@pytest.mark.slow
def test_a_sweep_ends_in_a_report_and_grows(tmp_path: Path, mvdeploy: Mvdeploy) -> None:
    """In a new process, as a user starts it."""
    (tmp_path / "a.csv").write_text("model,image_size,top-1\nyardstick,16,10\nyardstick,,20\n")
    words = ("sweep", "yardstick", *QUICK, "--accuracy", "a.csv", "--accuracy-column", "top-1")
    done = started(*words, "--image-size", "16,24", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "sweep-yardstick-host"
    assert done.stderr.startswith(
        f"2 cases of 2 networks, in 1 block: about a minute. Results: {Path('out') / folder.name}\n"
    )
    assert "2 of 2 cases have a latency" in done.stdout
    assert "Two sizes always lie on a line" in " ".join(done.stdout.split())
    assert {path.name for path in folder.iterdir()} == {
        *("sweep.json", "runs", "report.md", "report.html", "report.json", "sweep.csv", "figures")
    }
    assert len(list((folder / "runs").iterdir())) == 1

    more = mvdeploy(*words, "--image-size", "16:32:8", "--json")
    assert more.returncode == 0, more.stderr
    assert more.stderr.startswith("3 cases of 3 networks; 1 network still to be measured")
    assert len(list((folder / "runs").iterdir())) == 2
    read = json.loads(more.stdout)
    assert [case["height"] for case in read["cases"]] == [16, 24, 32]
    assert [case["accuracy"] for case in read["cases"]] == [10, 20, 20]
    (growth,) = read["growth"]
    assert growth["macs_exponent_of_pixels"] == pytest.approx(1, abs=0.05)
    assert growth["pixels"]["sizes"] == 3 and growth["clock"] == "cpu"

    rendered = mvdeploy("report", str(folder), "--json")
    assert json.loads(rendered.stdout) == read
    again = mvdeploy(*words, "--image-size", "16:32:8")
    assert again.returncode == 0 and "all measured" in again.stderr
    assert len(list((folder / "runs").iterdir())) == 2
    refused = mvdeploy("report", str(folder), "--format", "csv")
    assert refused.returncode == 2 and "is a sweep" in refused.stderr
    (folder / "sweep.json").write_text("{")
    for words_of in (("report", str(folder)), (*words, "--image-size", "16:32:8")):
        damaged = mvdeploy(*words_of)
        assert damaged.returncode == 2 and "Traceback" not in damaged.stderr
        assert "sweep.json is not valid JSON" in damaged.stderr
        assert "--anew takes a folder of its own" in damaged.stderr


@pytest.mark.slow
def test_threads_precisions_and_batches_are_ways_of_their_own(mvdeploy: Mvdeploy) -> None:
    words = ("--threads", "1-2", "--precision", "fp32", "--precision", "int8", "--batch", "1,2")
    quick = ("--iterations", "4", "--sessions", "2", "--warmup", "1", "--no-breakdown")
    done = mvdeploy(
        *("sweep", "yardstick", "--image-size", "16,24x16", "--format", "onnx", *words),
        *("--calibrate", "2", *quick, "-o", "out", "--json"),
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert len(read["cases"]) == 16 and not any(case["problem"] for case in read["cases"])
    ways = {(one["precision"], one["threads"], one["batch"]) for one in read["growth"]}
    assert len(ways) == len(read["growth"]) == 8
    clocks = {one["threads"]: one["clock"] for one in read["growth"]}
    assert clocks == {1: "cpu", 2: "wall"}
    for case in read["cases"]:
        assert case["per_image_ms"] == pytest.approx(case["latency_ms"] / case["batch"])
    small = {case["macs_per_image"] for case in read["cases"] if case["height"] == 16}
    assert len(small) == 1  # whatever the batch


def test_what_cannot_be_built_is_a_line_and_networks_without_patches_are_beside(
    mvdeploy: Mvdeploy,
) -> None:
    """All is said before anything is measured: too many cases end it here."""
    words = ("mobilevit_xxs", "yardstick", "--patches", "2,2,2", "--patches", "8,8,2")
    done = mvdeploy("sweep", *words, "--image-size", "64,128", "--max-cases", "3", *QUICK)
    assert done.returncode == 2
    # Patches of 8 fit into no map of 4 x 4; the yardstick has no patches.
    assert "These are 5 cases, and --max-cases is 3." in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mobilevit_zz",), "mobilevit_zz"),
        (("none.onnx",), "There is no file none.onnx"),
        (("yardstick", "--image-size", "64:"), "'64:' is no range"),
        (("yardstick", "--image-size", "big"), "'big' is no image size"),
        (("yardstick", "--batch", "1,x"), "'x' is no number of images"),
        (("yardstick", "--batch", "dynamic"), "'dynamic' is none"),
        (("mobilevit_xxs", "--patches", "a"), "'a' is no list of patch sizes"),
        (("mobilevit_xxs", "--patches", "9,9,9", "--image-size", "64"), "None of the 1 network"),
        (("yardstick", "--patches", "2,2,2"), "None of the 1 network can be built"),
        (("yardstick", "--accuracy-column", "a"), "names a column of a table, and there is none"),
        (("yardstick", "--accuracy", "none.csv"), "There is no file none.csv"),
        (("yardstick", "--format", "onx"), "onx"),
        (("yardstick", "--max-cases", "0"), "max-cases"),
        (("yardstick", "--xnnpack-threads", "2"), "xnnpack-threads"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    mvdeploy: Mvdeploy, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = mvdeploy("sweep", *words, "-o", "out")
    assert done.returncode == 2, done.stdout
    assert said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_swept(mvdeploy: Mvdeploy) -> None:
    assert mvdeploy("export", "yardstick", "--image-size", "16", "-o", "a.onnx").returncode == 0
    done = mvdeploy("sweep", "a.onnx", "--image-size", "16,32")
    assert done.returncode == 2
    assert "A sweep builds networks in several sizes, and a.onnx has one." in done.stderr
