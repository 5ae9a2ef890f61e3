"""The main job as a user runs it: real exports, real engines, a real report; only smaller."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mvdeploy import devices, formats, models
from mvdeploy.pipeline import bench
from mvdeploy.pipeline.report import breakdowns
from mvdeploy.records import Category, Measurement, Plan, Warmup
from mvdeploy.records.run import load_run
from tests.conftest import MakeExport
from tests.saved_runs import without_checksum
from tests.warm import Server, started

Finished = tuple[Path, str]


def test_every_case_is_measured_and_attributed(finished: Finished) -> None:
    saved = load_run(finished[0])
    assert [(case.label, case.engine) for case in saved.cases] == [
        ("mobilevit_xxs 2,2,2 depths=1,1,1", "onnxruntime"),
        ("mobilevit_xxs 8,4,2 depths=1,1,1", "onnxruntime"),
        ("mobilevit_xxs 2,2,2 depths=1,1,1", "pytorch"),
        ("mobilevit_xxs 8,4,2 depths=1,1,1", "pytorch"),
    ]
    found = breakdowns(saved)
    for case in saved.cases:
        assert case.failure is None
        assert case.parity is not None and case.parity.passed
        assert case.measurement is not None
        assert [len(session.steady) for session in case.measurement.sessions] == [6, 6]
        breakdown = found[case.slug]
        assert breakdown.attributed_share >= 0.999
        assert all(breakdown.by_category()[category] > 0 for category in Category.ordered(()))


def test_cases_of_one_engine_are_compared_in_both_creation_orders(finished: Finished) -> None:
    saved = load_run(finished[0])
    pairs = {(c.a, c.b): c for c in saved.comparisons if c.groups}
    slugs = saved.run.cases
    assert set(pairs) == {(slugs[0], slugs[1]), (slugs[2], slugs[3])}
    apart = {(c.a, c.b) for c in saved.comparisons if c.sessions}
    assert apart >= {(slugs[0], slugs[2]), (slugs[0], slugs[3])}
    for comparison in pairs.values():
        assert len(comparison.groups) == 2
        assert sum(group.first_created for group in comparison.groups) == 0
        for group in comparison.groups:
            assert len(group.a) // group.block_a == len(group.b) // group.block_b > 0


def test_the_order_of_all_inferences_is_kept(finished: Finished) -> None:
    saved = load_run(finished[0])
    for engine in ("onnxruntime", "pytorch"):
        cases = [case for case in saved.cases if case.engine == engine]
        orders = [order for order in saved.orders if cases[0].slug in order.created]
        assert [order.number for order in orders] == list(range(len(orders)))
        for index, case in enumerate(cases):
            assert case.measurement is not None
            for order, session in zip(orders, case.measurement.sessions, strict=True):
                assert order.created.index(case.slug) == session.created
                ran = sum(n for at, n in order.order if order.created[at] == case.slug)
                in_turns = (c for c in saved.comparisons if c.groups)
                (comparison,) = (c for c in in_turns if case.slug in (c.a, c.b))
                group = comparison.groups[order.number]
                assert ran == len(session.steady) + len((group.a, group.b)[index])


def test_operators_have_start_times(finished: Finished) -> None:
    for case in load_run(finished[0]).cases:
        assert case.trace is not None
        for event in case.trace.events:
            assert len(event.starts_ns) == len(event.samples_ns) > 0
            assert bool(event.track) is (case.engine == "onnxruntime")


def test_the_terminal_shows_coverage_ratio_and_report(finished: Finished) -> None:
    folder, out = finished
    shares = [float(s) for s in re.findall(r"([\d.]+)\s%\sattributed", out)]
    assert len(shares) == 4
    assert min(shares) >= 99.9
    assert "95 % interval" in out
    assert str(Path("out") / folder.name / "report.html") in out.replace("\n", "")
    assert (folder / "report.html").is_file()


def test_it_renders_again_without_torch(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("*.onnx", "*.pt2"))
    before = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'psutil'): sys.modules[name] = None\n"
        "sys.argv = ['mvdeploy', *sys.argv[1:]]\n"
        "from mvdeploy.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report.md").read_text() == before


def test_json_has_the_raw_samples(warm: Server, finished: Finished) -> None:
    done = warm.mvdeploy("report", "--json", str(finished[0]), cwd=finished[0])
    assert done.returncode == 0, done.stderr
    case = json.loads(done.stdout)["cases"][0]
    assert case["latency_ms"]["p50"] > 0
    assert len(case["raw_samples_ms"]) >= 2


def test_an_exported_file_is_measured_as_it_is(finished: Finished, tmp_path: Path) -> None:
    """As a user starts it: all processes are new."""
    (source,) = (finished[0] / "artifacts").glob("*p8-4-2*.onnx")
    for file in (source, source.with_name(source.name + ".json")):
        shutil.copy(file, tmp_path)
    short = ("--iterations", "7", "--warmup", "3", "--no-breakdown", "-o", "out")
    done = started("bench", source.name, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    (case,) = load_run(folder).cases
    assert case.measurement is not None
    assert len(case.measurement.steady) == 7
    assert case.trace is None


def test_an_engine_that_computes_no_numbers_is_an_error(
    warm: Server, finished: Finished, tmp_path: Path
) -> None:
    """The file is what its manifest says, and so are its outputs' names and shapes."""
    import onnx

    (source,) = (finished[0] / "artifacts").glob("*p8-4-2*.onnx")
    manifest = without_checksum(source.with_name(source.name + ".json"))
    model = onnx.load(source)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["numbers" if name == output.name else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Sub", ["numbers", "numbers"], ["zero"]))
    model.graph.node.append(onnx.helper.make_node("Div", ["zero", "zero"], [output.name]))
    onnx.save(model, tmp_path / "broken.onnx")
    data = (tmp_path / "broken.onnx").read_bytes()
    manifest |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    manifest["path"] = "broken.onnx"
    (tmp_path / "broken.onnx.json").write_text(json.dumps(manifest))
    flags = ("--iterations", "6", "--no-breakdown", "-o", "out")
    done = warm.mvdeploy("bench", "broken.onnx", str(source), *flags, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "(broken.onnx): onnxruntime does not compute" in done.stderr
    assert "gives outputs ('logits') with values that are no finite numbers" in done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    broken, good = load_run(folder).cases
    assert broken.measurement is None and broken.failure is not None
    assert good.failure is None and good.measurement is not None
    assert len(good.measurement.steady) == 6
    report = (folder / "report.md").read_text()
    assert "no finite numbers" in report


def test_a_changed_file_that_is_no_model_any_more_is_refused(
    warm: Server, finished: Finished, tmp_path: Path
) -> None:
    (source,) = (finished[0] / "artifacts").glob("*p8-4-2*.onnx")
    for file in (source, source.with_name(source.name + ".json")):
        shutil.copy(file, tmp_path)
    (tmp_path / source.name).write_bytes(source.read_bytes()[:-100])
    done = warm.mvdeploy("bench", source.name, cwd=tmp_path)
    assert done.returncode == 2
    assert "sha256" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_keeps_what_was_finished(
    warm: Server, exported: MakeExport, tmp_path: Path, number: signal.Signals
) -> None:
    file = exported(patches="2,2,2", size="64").path
    short = ("--warmup", "3", "--no-breakdown", "--min-time", "40", "--sessions", "40")
    command = [sys.executable, "-m", "mvdeploy", "bench", str(file), *short]
    process = subprocess.Popen(
        [*command, "-o", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "MVDEPLOY_TEST": str(tmp_path)},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("session 3"):
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    (folder,) = (tmp_path / "out").iterdir()
    (case,) = load_run(folder).cases
    assert case.measurement is not None
    assert len(case.measurement.sessions) >= 2
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        named = "Interrupted." if number == signal.SIGINT else "Ended by SIGTERM."
        assert err.endswith(f"Error: {named}\nWhat was finished before is saved.\n")
        (finding,) = load_run(folder).run.findings
        assert (finding.code, finding.values) == ("interrupted", {"cases": "none"})
    assert not _runners_of(tmp_path)
    assert warm.mvdeploy("report", str(folder), cwd=tmp_path).returncode == 0


def _runners_of(folder: Path) -> list[int]:
    """Return runners of a test that are still alive, a moment later."""
    deadline = time.monotonic() + 10
    while True:
        alive = [
            p.pid
            for p in psutil.process_iter(["cmdline", "environ"])
            if "mvdeploy.runners.host" in " ".join(p.info["cmdline"] or ())
            and (p.info["environ"] or {}).get("MVDEPLOY_TEST") == str(folder)
        ]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.1)


PATCHED = """
import errno, os
from mvdeploy.cli import main
from mvdeploy.files import writing
from mvdeploy.report import figures

fill, measured = writing.fill, []

def full(part, content):
    if part.name == "case.json" and b'"steady"' in content:
        measured.append(part)
    if len(measured) > 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fill(part, content)

def no_font(*_):
    raise RuntimeError("no font")

PATCH
main()
"""


@pytest.fixture
def two_files(exported: MakeExport, tmp_path: Path) -> Path:
    """A folder with the same file twice."""
    source = exported(patches="2,2,2", size="64").path
    for name in ("first", "second"):
        shutil.copy(source, tmp_path / f"{name}.onnx")
        shutil.copy(formats.manifest_path(source), tmp_path / f"{name}.onnx.json")
    return tmp_path


def patched(patch: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Measure two files in a Python in which something is replaced."""
    short = ("--warmup", "3", "--iterations", "6", "--sessions", "1", "--no-breakdown", *flags)
    code = PATCHED.replace("PATCH", patch)
    words = [sys.executable, "-c", code, "bench", "first.onnx", "second.onnx", "-o", "out", *short]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=200)


def test_a_full_disk_keeps_what_was_finished(two_files: Path) -> None:
    done = patched("writing.fill = full", two_files)
    assert done.returncode == 2, done.stderr
    (folder,) = (two_files / "out").iterdir()
    message, remedy = done.stderr.splitlines()[-2:]
    assert "case.json cannot be written (No space left on device): " in message
    assert "bytes are free there" in message
    kept = f"What was measured of 1 of 2 cases is saved in out/{folder.name}"
    assert kept in remedy
    measured = {case.slug: case.measurement for case in load_run(folder).cases}
    assert len(measured) == 2 and sum(m is not None for m in measured.values()) == 1
    assert not list(two_files.rglob("*.part"))


def test_what_only_shows_ends_no_run(two_files: Path) -> None:
    flags = ("--fail-on", "p50:0.001ms", "--save-baseline", "base.json")
    done = patched("figures.image = no_font", two_files, *flags)
    assert done.returncode == 1, done.stderr
    assert "Warning: the result could not be shown (RuntimeError: no font)." in done.stderr
    assert "It is saved in out/" in done.stderr and "Gate p50:0.001ms failed" in done.stderr
    assert "Latency, ms" in done.stdout


def test_who_hears_of_steps_hears_of_new_samples(
    others: Callable[[str], Path], tmp_path: Path
) -> None:
    """After each session, with all samples so far; the run is the same."""

    class Heard:
        def __init__(self) -> None:
            self.steps: list[str] = []
            self.samples: list[tuple[str, int]] = []

        def __call__(self, text: str) -> None:
            self.steps.append(text)

        def measured(self, slug: str, measurement: Measurement) -> None:
            self.samples.append((slug, len(measurement.steady)))

    heard = Heard()
    plan = Plan(warmup=Warmup(iterations=3), iterations=12, sessions=2, profile_iterations=0)
    request = bench.Request(
        (others("plain.onnx"),), (), devices.get("host"), plan, tmp_path / "runs"
    )
    store = bench.run(request, heard)
    (case,) = load_run(store.folder).cases
    assert case.measurement and len(case.measurement.steady) == 12
    counts = [number for slug, number in heard.samples if slug == case.slug]
    assert counts[0] == 6 and counts[-1] == 12 and counts == sorted(counts)
    assert [text for text in heard.steps if "session" in text] == ["session 1", "session 2"]


def test_what_comes_after_the_latencies_counts_as_steps(tmp_path: Path) -> None:
    def steps(**fields: Any) -> int:
        plan = Plan(iterations=6, sessions=3, **fields)
        spec = models.make_spec("yardstick")
        asked = bench.Request((spec,), ("onnx",), devices.get("host"), plan, tmp_path)
        return bench.step_count(asked)

    assert steps(pipeline=True) - steps() == 3
    assert steps(starts=5) - steps() == 5
