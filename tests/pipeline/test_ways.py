"""Which formats, precisions and engines are measured."""

from __future__ import annotations

import dataclasses
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy import devices, engines
from mvdeploy.engines import _chip
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import ways
from mvdeploy.pipeline.ways import ALL, Choice

HOST = dataclasses.replace(devices.get("host"), engines=("onnxruntime", "executorch", "pytorch"))


def pairs(choice: Choice) -> list[tuple[str, str, str | None]]:
    found, _ = ways.of_networks(choice)
    return [(way.format, way.engine, way.precision) for way in found]


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An engine that runs ONNX too, and says what it cannot do."""
    monkeypatch.setattr(engines, "__path__", [*engines.__path__])
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "wtwin.py").write_text(
        """
FORMATS, PACKAGES, PROFILE_COMPANIONS = ("onnx", "pytorch"), ("onnxruntime",), ()
version = start = open_session = read_tensors = read_profile = print
def lacks(precision, architecture):
    return "its kernels have none" if precision == "int8-fast" else ""
def emulated(precision, architecture):
    return "it converts to fp32" if precision == "fp16" and architecture else ""
def for_precision(precision):
    return {"hint": precision}
"""
    )
    monkeypatch.setenv("MVDEPLOY_PLUGINS", str(tmp_path))
    yield "wtwin"
    sys.modules.pop("mvdeploy.engines.wtwin", None)


def test_without_a_choice_the_first_engine_of_each_format_runs_it() -> None:
    assert pairs(Choice(HOST)) == [("onnx", "onnxruntime", None)]
    asked = Choice(HOST, ("executorch", "onnx"), ("fp32", "int8"))
    assert pairs(asked) == [
        (name, engine, precision)
        for name, engine in (("executorch", "executorch"), ("onnx", "onnxruntime"))
        for precision in ("fp32", "int8")
    ]


def test_an_engine_that_is_asked_for_brings_its_format(twin: str) -> None:
    found, _ = ways.of_networks(Choice(HOST, engines=(twin, "onnxruntime")))
    assert [(w.format, w.engine, w.marked) for w in found] == [
        ("onnx", twin, True),
        ("onnx", "onnxruntime", False),
    ]
    assert pairs(Choice(HOST, ("pytorch",), engines=(twin,))) == [("pytorch", twin, None)]


def test_all_leaves_out_what_cannot_be_and_says_so(twin: str) -> None:
    choice = Choice(HOST, precisions=("fp32", "int8-fast", "fp16"), engines=(ALL,))
    found, left_out = ways.of_networks(choice)
    own = {(w.engine, w.precision) for w in found}
    assert {(twin, "fp32"), ("pytorch", "fp32"), ("executorch", "int8-fast")} <= own
    assert not {(twin, "int8-fast"), ("pytorch", "int8-fast"), (twin, "fp16")} & own
    told = {(f.values["engine"], f.values["precision"]): f.values["reason"] for f in left_out}
    assert "its kernels have none" in str(told[twin, "int8-fast"])
    assert "converts to fp32" in str(told[twin, "fp16"])
    assert "not written in int8-fast" in str(told["pytorch", "int8-fast"])


def test_what_is_emulated_is_refused_unless_it_is_forced(twin: str) -> None:
    choice = Choice(HOST, precisions=("fp16",), engines=(twin,))
    with pytest.raises(UsageError, match=r"does not compute in fp16 .*: it converts to fp32") as e:
        ways.of_networks(choice)
    assert "--force" in e.value.remedy
    (way,), _ = ways.of_networks(dataclasses.replace(choice, force=True))
    assert way.emulated == "it converts to fp32"
    impossible = dataclasses.replace(choice, precisions=("int8-fast",), force=True)
    with pytest.raises(UsageError, match=r"cannot run int8-fast .*: its kernels have none"):
        ways.of_networks(impossible)


def test_of_a_device_that_has_not_answered_nothing_is_claimed(twin: str) -> None:
    board = dataclasses.replace(HOST, link="ssh", engines=(twin,), architecture="")
    found, _ = ways.of_networks(Choice(board, precisions=("fp16",), engines=(twin,)))
    assert [way.emulated for way in found] == [""]


def test_a_file_is_run_by_each_chosen_engine_that_has_its_format(twin: str) -> None:
    path = Path("a.onnx")
    (usual,) = ways.of_file(Choice(HOST), path, "onnx", "fp32")
    assert (usual.engine, usual.marked) == ("onnxruntime", False)
    both = ways.of_file(Choice(HOST, engines=(ALL,)), path, "onnx", "fp32")
    assert [way.engine for way in both] == ["onnxruntime", twin] or {
        way.engine for way in both
    } >= {"onnxruntime", twin}
    with pytest.raises(UsageError, match="'onnx', which executorch cannot run"):
        ways.of_file(Choice(HOST, engines=("executorch",)), path, "onnx", "fp32")
    with pytest.raises(UsageError, match="it converts to fp32"):
        ways.of_file(Choice(HOST, engines=(twin,)), path, "onnx", "fp16")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(HOST, engines=("onnxruntme",)), "no engine 'onnxruntme'"),
        (Choice(HOST, engines=("coreml",)), "'coreml' cannot be used on this machine"),
        (
            Choice(HOST, ("onnx",), engines=("executorch",)),
            "executorch cannot run the format",
        ),
        (Choice(HOST, ("tflight",)), "tflight"),
        (Choice(HOST, ("pytorch",), ("int8",), (ALL,)), "No engine of this machine can do that"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(choice: Choice, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ways.of_networks(choice)


def test_an_engine_that_is_not_installed_is_named_with_what_to_install(
    twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.get(twin), "PACKAGES", ("onnxruntime", "no-such-engine"))
    with pytest.raises(UsageError, match=r"'wtwin' is not installed here \(no-such-engine\)") as e:
        ways.of_networks(Choice(HOST, engines=(twin,)))
    assert e.value.remedy == "Install it: pip install 'no-such-engine'."
    assert twin not in {way.engine for way in ways.of_networks(Choice(HOST, engines=(ALL,)))[0]}


def test_pip_is_told_the_versions_that_are_taken() -> None:
    said = engines.requirements(("openvino", "no-such-engine"))
    assert re.fullmatch(r"'openvino[<>=.,\d]+' 'no-such-engine'", said)


def test_what_an_engine_sets_for_a_precision_yields_to_what_is_chosen(
    twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engines.session_options(twin, "bf16", {}) == {"hint": "bf16"}
    option = engines.Option("hint", "--hint", "A hint.", metavar="X")
    monkeypatch.setattr(engines.get(twin), "OPTIONS", (option,), raising=False)
    given = {"hint": "f32", "others": "1"}
    assert engines.session_options(twin, "bf16", given) == {"hint": "f32"}


def test_half_precision_is_refused_where_it_would_be_emulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    choice = Choice(HOST, ("executorch",), ("fp16",))
    monkeypatch.setattr(_chip, "has", lambda *_: False)
    with pytest.raises(UsageError, match="executorch does not compute in fp16"):
        ways.of_networks(choice)
    monkeypatch.setattr(_chip, "has", lambda *_: True)
    assert pairs(choice) == [("executorch", "executorch", "fp16")]
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(_chip, "has", lambda *_: False)
    assert pairs(choice) == [("executorch", "executorch", "fp16")]


def test_sums_run_in_halves_where_the_kernels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that emulate halves add up in single precision, and are given no more room."""
    monkeypatch.setattr(_chip, "has", lambda *_: True)
    assert engines.has_running_sums("executorch", "fp16", "x86_64")
    assert engines.has_running_sums("litert", "fp16", "aarch64")
    assert not engines.has_running_sums("executorch", "fp32", "x86_64")
    assert not engines.has_running_sums("onnxruntime", "fp16", "aarch64")
    monkeypatch.setattr(_chip, "has", lambda *_: False)
    assert not engines.has_running_sums("executorch", "fp16", "x86_64")
    assert not engines.has_running_sums("litert", "fp16", "x86_64")


def test_the_chip_is_asked_by_the_names_of_linux() -> None:
    told = Path("/proc/cpuinfo")
    if not told.is_file():
        pytest.skip("the system does not tell")
    words = told.read_text().partition("flags")[2].splitlines()[0].split()
    assert _chip.has("no such thing", words[-1])
    assert not _chip.has("no such thing")


def test_every_way_is_measured_with_each_number_of_threads() -> None:
    found, _ = ways.of_networks(Choice(HOST, ("onnx", "executorch"), threads=(1, 2)))
    assert [(way.engine, way.threads) for way in found] == [
        (engine, number) for engine in ("onnxruntime", "executorch") for number in (1, 2)
    ]
    files = ways.of_file(Choice(HOST, threads=(1, 2)), Path("a.onnx"), "onnx", "fp32")
    assert [way.threads for way in files] == [1, 2]
