"""Measuring from Python: what is measured, from where it may be called, and how it ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import mvdeploy
from mvdeploy import started
from mvdeploy.api import _calls
from mvdeploy.errors import CheckFailed, DeviceUnavailable, EngineError, MvdeployError, UsageError
from mvdeploy.pipeline import bench as pipeline

SHORT: dict[str, Any] = {"iterations": 8, "warmup": 2, "sessions": 2, "breakdown": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def exported(folder: Path, network) -> mvdeploy.Exported:
    net, example = network
    return mvdeploy.export(net, folder / "net.pt2", format="pytorch", example=example)


@pytest.fixture
def short(exported: mvdeploy.Exported, workspace: Path):
    """Measure the file in the current folder."""
    return lambda **more: mvdeploy.bench(exported, **{**SHORT, **more})


def test_modules_files_and_names_are_measured_and_judged_together(
    exported: mvdeploy.Exported, network, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net, example = network
    steps: list[str] = []
    result = mvdeploy.bench(
        [exported, str(exported.path), net, "yardstick"],
        example=example,
        image_size=64,
        format="pytorch",
        progress=steps.append,
        **SHORT,
    )
    result.check()
    assert result.path.parent == Path("reports") and len(result) == 4
    assert all(case.device_parity is not None and case.device_parity.passed for case in result)
    assert result[0].artifact.spec == result[2].artifact.spec  # type: ignore[union-attr]
    assert net.training
    assert "session 1" in steps
    assert capfd.readouterr() == ("", "")
    assert len(result.frame("samples")) == 4 * SHORT["iterations"]
    said = result.view.run.command
    assert said[0] == "mvdeploy.bench" and "format='pytorch'" in said
    assert "example=Tensor(1, 3, 32, 32)" in said and not any("progress" in word for word in said)


def test_sizes_and_batches_are_measured_together(workspace: Path) -> None:
    result = mvdeploy.bench(
        "yardstick", image_size=[32, (40, 32)], batch=[1, 2], format="pytorch", **SHORT
    )
    found = {(c.artifact.spec.image_size, c.artifact.spec.batch) for c in result}
    assert found == {((32, 32), 1), ((32, 32), 2), ((40, 32), 1), ((40, 32), 2)}
    assert set(result.frame("cases")["batch"]) == {1, 2}
    with pytest.raises(UsageError, match="batch is 0"):
        mvdeploy.bench("yardstick", batch=0)


def test_what_else_is_measured_comes_as_tables(short, workspace: Path) -> None:
    result = short(pipeline=True, first_run=2, energy=True)
    assert {"inference"} <= set(result.frame("stages")["stage"])
    assert len(result.frame("first_run")) >= 2
    assert list(result.frame("energy")["problem"]) != [""]  # nothing here meters it
    with pytest.raises(UsageError, match="no energy is asked for"):
        short(energy_time=5.0)


def test_load_that_does_not_end(exported: mvdeploy.Exported, workspace: Path) -> None:
    result = mvdeploy.bench(exported, sustained=2, interval=0.5, warmup=2)
    rows = result.frame("intervals")
    assert len(rows) >= 3 and (rows["p50_ms"] > 0).all()
    with pytest.raises(UsageError, match="iterations is about sessions"):
        mvdeploy.bench(exported, sustained="2s", iterations=5)
    with pytest.raises(UsageError, match="which is not given"):
        mvdeploy.bench(exported, interval=2.0)
    with pytest.raises(UsageError, match="is no length of time"):
        mvdeploy.bench(exported, sustained="soon")


def test_a_file_is_judged_where_its_network_is_given_again(network, workspace: Path) -> None:
    net, example = network
    exported = mvdeploy.export(net, "net.pt2", format="pytorch", example=example)
    path = exported.path
    del exported
    result = mvdeploy.bench(path, model=net, example=example, **SHORT)
    assert result[0].device_parity is not None and result[0].device_parity.passed
    with pytest.raises(UsageError, match=r"x is for files|no input 'x'"):
        mvdeploy.bench(path, shapes={"x": (1, 3)})
    with pytest.raises(UsageError, match=r"\(2, 1\) is no range of values of 'x'"):
        mvdeploy.bench(path, values={"x": (2, 1)})
    with pytest.raises(UsageError, match=r"'1,3' is no shape of 'x'"):
        mvdeploy.bench(path, shapes={"x": "1,3"})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="is said of files without a manifest"):
        mvdeploy.bench(path, model="yardstick")


def test_two_at_once_refuse_each_other_and_name_no_process_to_end(short) -> None:
    refused: list[DeviceUnavailable] = []

    def again(step: str) -> None:
        if step == "session 1":
            with pytest.raises(DeviceUnavailable) as caught:
                short()
            refused.append(caught.value)

    assert short(progress=again).best is not None
    (one,) = refused
    assert one.remedy == "Wait until it has ended, and run again."


def test_a_call_works_from_a_thread_and_within_a_running_loop(short) -> None:
    found: list[mvdeploy.Result] = []
    thread = threading.Thread(target=lambda: found.append(short()))
    thread.start()
    thread.join()

    async def in_a_loop() -> mvdeploy.Result:
        return short()

    found.append(asyncio.run(in_a_loop()))
    assert [result.best is not None for result in found] == [True, True]


def test_a_program_needs_no_guard_and_no_file(exported: mvdeploy.Exported, workspace: Path) -> None:
    code = textwrap.dedent(f"""
        import mvdeploy
        result = mvdeploy.bench({str(exported.path)!r}, **{SHORT})
        print(len(result), result.failed)
    """)
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, cwd=workspace
    )
    assert (done.stdout, done.stderr) == ("1 ()\n", "")


def test_an_interrupt_leaves_what_was_measured_and_says_where(short) -> None:
    def stop(step: str) -> None:
        if step == "session 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        short(progress=stop, iterations=64)
    (note,) = caught.value.__notes__
    (run,) = Path("reports").iterdir()
    assert note == f"What was measured until then is saved in {run}."
    assert 0 < len(mvdeploy.load(run).frame("samples")) < 64


def test_a_run_without_any_latency_is_an_error_of_its_kind(
    short, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(entries: Any, link: Any, plan: Any, listener: Any, anchors: Any) -> None:
        for entry in entries:
            listener.failed(entry.slug, EngineError("It broke.", "Mend --engine it."))

    monkeypatch.setattr(pipeline, "measure", broken)
    with pytest.raises(EngineError, match=r"net\.pt2\): It broke\. Mend engine it\. What was"):
        short()
    (run,) = Path("reports").iterdir()
    assert repr(mvdeploy.load(run)).endswith("1 case, 1 not measured>")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"format": "onnx"}, "none is in onnx"),
        ({"engine": "nonsense"}, "no engine 'nonsense'"),
        ({"device": "nophone"}, "no device 'nophone'"),
        ({"threads": 0}, "'0' is no number of threads"),
        ({"cores": [-1]}, "are no CPU numbers"),
        ({"iterations": 0}, "iterations is 0"),
        ({"iterations": 2.5}, r"iterations is 2\.5"),
        ({"iterations": None, "min_time": 3, "max_time": 1}, "max_time 1 is less than min_time 3"),
        ({"target": 0}, "target is 0"),
        ({"warmup": -1}, "warmup is -1"),
        ({"portable": True}, "portable says how networks are exported"),
        ({"engine_options": {"spinnin": "off"}}, r"no option of an engine 'spinnin'.*'spinning'"),
        ({"engine_options": {"spinning": "maybe"}}, "no value of spinning: 'maybe'"),
        ({"link_options": {"serial": "x"}}, "no option of a link 'serial'"),
        ({"without_pass": "none"}, "no pass 'none'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(
    short, keywords: dict[str, Any], words: str
) -> None:
    with pytest.raises(MvdeployError, match=words) as caught:
        short(**keywords)
    assert "--" not in caught.value.message
    assert not Path("reports").exists()


def test_two_files_take_turns_and_two_results_are_compared_as_they_are(
    exported: mvdeploy.Exported, workspace: Path
) -> None:
    compared = mvdeploy.compare(
        exported, exported.path, max_time=0.5, groups=4, warmup=2, breakdown=False
    )
    assert compared.result is not None and len(compared) == 1 and compared.warning == ""
    low, high = compared.interval or (0.0, 0.0)
    assert 0 < low <= (compared.ratio or 0.0) <= high
    assert compared.verdict in repr(compared) or compared.pairs[0].b in repr(compared)
    frame = compared.result.frame("comparisons")
    assert frame["ratio"][0] == compared.ratio and frame["verdict"][0] == compared.verdict
    results = mvdeploy.compare("run", mvdeploy.load("run"))
    assert results.warning and [pair.ratio for pair in results] == [1.0, 1.0]
    assert results._repr_html_().count("<p>") == 3
    with pytest.raises(UsageError, match="2 cases in common"):
        _ = results.ratio
    with pytest.raises(UsageError, match="max_time=3 says how to measure"):
        mvdeploy.compare("run", "run", max_time=3)
    with pytest.raises(UsageError, match="with one other result"):
        mvdeploy.compare("run", exported)
    with pytest.raises(UsageError, match="Two are compared at a time, but this makes 1"):
        mvdeploy.compare(exported)


def test_sentences_name_keywords_but_in_commands() -> None:
    said = "Leave --max-time out, or run 'mvdeploy bench --max-time 3' with -o (int8--x)."
    assert _calls.keywords(said) == (
        "Leave max_time out, or run 'mvdeploy bench --max-time 3' with path (int8--x)."
    )


def test_what_libraries_write_into_the_environment_stays_out_of_later_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @_calls.public
    def imports() -> str | None:
        os.environ["KMP_BLOCKTIME"] = "7"
        return started.environment().get("KMP_BLOCKTIME")

    monkeypatch.setenv("KMP_BLOCKTIME", "3")
    assert [imports(), imports()] == ["3", "3"]
    monkeypatch.setenv("KMP_BLOCKTIME", "9")
    assert [imports(), imports()] == ["9", "9"]
    monkeypatch.delenv("KMP_BLOCKTIME")
    assert [imports(), imports()] == [None, None]


def test_what_is_raised_is_what_the_pipeline_raised() -> None:
    @_calls.public
    def failing() -> None:
        raise CheckFailed("It is not --calm.", "Give --model-arg x=1.")

    with pytest.raises(CheckFailed, match=r"^It is not calm\. Give arguments x=1\.$") as caught:
        failing()
    assert caught.value.exit_code == 1
