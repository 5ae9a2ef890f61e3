"""ExecuTorch's sessions, through the real engine."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvdeploy import engines
from mvdeploy.engines import SessionRequest
from mvdeploy.engines import executorch as engine
from mvdeploy.errors import EngineError

Inputs = Mapping[str, "np.ndarray"]
Programs = Callable[[str], Any]


def image(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


# Sessions


@pytest.mark.parametrize("threads", [1, 2])
def test_a_program_computes_what_the_network_does(exported, threads: int) -> None:
    whole = exported("executorch", model="mobilevit_xs", patches="8,4,3", size="96,128")
    session = engine.open_session(
        SessionRequest(whole.path, {"image": image(0, 1, 3, 96, 128)}, threads)
    )
    assert engine._bindings()._threadpool_get_thread_count() == threads
    for seed in (0, 1):
        x = image(seed, 1, 3, 96, 128)
        with torch.inference_mode():
            wanted = whole.network(torch.from_numpy(x)).numpy()
        session.feed({"image": x})
        session.infer()
        np.testing.assert_allclose(session.outputs()["output_0"], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["small", "two", "undelegated", "fused", "sum"])
@pytest.mark.parametrize("threads", [1, 2])
def test_small_programs_compute_what_their_networks_do(
    program: Programs, name: str, threads: int
) -> None:
    made = program(name)
    session = engine.open_session(SessionRequest(made.path, made.inputs, threads))
    for _ in range(3):  # the engine overwrites its inputs in the course of an inference
        session.infer()
        outputs = session.outputs()
        wanted = made.outputs()
        assert list(outputs) == ["output_0", "output_1"][: len(wanted)]
        for found, expected in zip(outputs.values(), wanted, strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def strided(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": lambda x: x,
    "channels last": strided,
    "channels last in torch": lambda x: (
        torch.from_numpy(x).to(memory_format=torch.channels_last).numpy()
    ),
    "Fortran": np.asfortranarray,
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input_is_read_right_in_any_layout(program: Programs, layout: str) -> None:
    made = program("small")
    given = {"image": LAYOUTS[layout](image(1, 1, 3, 16, 16))}
    session = engine.open_session(SessionRequest(made.path, given))
    session.infer()
    np.testing.assert_allclose(
        session.outputs()["output_0"],
        made.outputs(given)[0],
        atol=1e-6,
    )


def test_the_engine_itself_misreads_another_layout(program: Programs) -> None:
    """If this fails, copying inputs is no longer needed."""
    made = program("small")
    session = engine.open_session(SessionRequest(made.path, made.inputs))
    x = torch.from_numpy(made.inputs["image"]).to(memory_format=torch.channels_last)
    (wrong,) = session._method.call([x], True)
    assert np.abs(wrong.numpy() - made.outputs()[0]).max() > 1e-4


def test_a_session_keeps_its_own_copy_of_the_input(program: Programs) -> None:
    made = program("small")
    x = made.inputs["image"].copy()
    session = engine.open_session(SessionRequest(made.path, {"image": x}))
    x[:] = 0
    session.infer()
    np.testing.assert_allclose(session.outputs()["output_0"], made.outputs()[0], atol=1e-6)


BAD_INPUTS: dict[str, tuple[Inputs, str]] = {
    "none": ({}, "takes 1 inputs, and 0 were given"),
    "too many": (
        {"image": image(0, 1, 3, 16, 16), "mask": image(0, 1)},
        r"takes 1 inputs, and 2 were given \(image, mask\)",
    ),
    "float64": ({"image": np.ones((1, 3, 16, 16))}, "'image' is float64, .* takes float32"),
    "int64": ({"image": np.ones((1, 3, 16, 16), np.int64)}, "'image' is int64"),
    "another byte order": ({"image": np.ones((1, 3, 16, 16), ">f4")}, "'image' is >f4"),
    "objects": ({"image": np.full((1, 3, 16, 16), None)}, "'image' is object"),
    "rank": ({"image": image(0, 3, 16, 16)}, r"is \(3, 16, 16\), .* takes \(1, 3, 16, 16\)"),
    "batch": ({"image": image(0, 2, 3, 16, 16)}, r"is \(2, 3, 16, 16\)"),
    "size": ({"image": image(0, 1, 3, 16, 8)}, r"is \(1, 3, 16, 8\)"),
    "layout": ({"image": image(0, 1, 16, 16, 3)}, r"is \(1, 16, 16, 3\)"),
    "empty": ({"image": image(0, 0, 3, 16, 16)}, r"is \(0, 3, 16, 16\)"),
    "scalar": ({"image": np.float32(1)}, r"is \(\)"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_that_the_program_does_not_take_are_refused(program: Programs, case: str) -> None:
    made = program("small")
    given, words = BAD_INPUTS[case]
    with pytest.raises(EngineError, match=words) as caught:
        engine.open_session(SessionRequest(made.path, given))
    assert "manifest" in caught.value.remedy
    session = engine.open_session(SessionRequest(made.path, made.inputs))
    with pytest.raises(EngineError, match=words):
        session.feed(given)
    session.infer()  # with the input that it had
    np.testing.assert_allclose(session.outputs()["output_0"], made.outputs()[0], atol=1e-6)


def changed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return change


BAD_FILES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "empty": (lambda d: b"", "is no ExecuTorch program", "pte"),
    "short": (lambda d: d[:7], "could not load|is no ExecuTorch program", "xport"),
    "header only": (lambda d: d[:64], "the program is invalid: File size is too small", "again"),
    "text": (lambda d: b"no program at all " * 99, "is no ExecuTorch program", "pte"),
    "half": (lambda d: d[: len(d) // 2], "the program is invalid: File size", "damaged"),
    "cut": (lambda d: d[:-1000], "the program is invalid: File size", "damaged"),
    "no version": (changed(b"ET12", b"ET1\xb2"), "is no ExecuTorch program", "pte"),
    "PyTorch": (lambda d: b"PK\x03\x04" + d, "is no ExecuTorch program", "pte"),
    "another version": (
        changed(b"ET12", b"ET13"),
        r"the program is invalid: Program identifier 'ET13' != expected 'ET12'\.",
        "another version",
    ),
    "another version's delegate": (
        changed(b"XH00", b"XH07"),
        "a delegate that is damaged or of another version: XNNPACK Delegate Serialization",
        "another version",
    ),
    "no method": (changed(b"forward", b"reverse"), "No method named 'forward'", "again"),
    "another backend": (
        changed(b"XnnpackBackend", b"CoreMLBackendX"),
        r"something that the engine does not have: Backend CoreMLBackendX is not registered\.",
        "--backend xnnpack",
    ),
    "an unknown operator": (
        changed(b"cumsum", b"cumsix"),
        "an operator that the engine does not have: kernel 'aten::cumsix.out' not found",
        "again",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_cannot_be_loaded_are_refused(
    program: Programs, tmp_path: Path, case: str
) -> None:
    made = program("two")
    change, words, remedy = BAD_FILES[case]
    path = tmp_path / "bad.pte"
    path.write_bytes(change(made.path.read_bytes()))
    with pytest.raises(EngineError, match=words) as caught:
        engine.open_session(SessionRequest(path, made.inputs))
    assert "bad.pte" in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.message.endswith(".") and not caught.value.message.endswith("..")
    assert caught.value.remedy.endswith(".")


def test_a_missing_file_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.pte could not be read \(No such file"):
        engine.open_session(SessionRequest(tmp_path / "none.pte", {}))
    with pytest.raises(EngineError, match="could not be read"):
        engine.open_session(SessionRequest(tmp_path, {}))


def test_a_failing_inference_says_why(program: Programs) -> None:
    made = program("small")
    session = engine.open_session(SessionRequest(made.path, made.inputs))
    session._arguments[:] = [torch.ones(1, 3, 4, 4)]  # past the checks
    with pytest.raises(EngineError) as caught:
        session.infer()
    assert "something is not supported: Attempted to resize a static tensor" in str(caught.value)
    assert "small.pte" in caught.value.message


@pytest.mark.parametrize(
    ("error", "lines", "message"),
    [
        (RuntimeError("no number"), [], "ExecuTorch sat: no number."),
        (
            RuntimeError("first\nsecond"),
            ["[a.cpp:1] it broke."],
            "ExecuTorch sat: first: it broke.",
        ),
        (RuntimeError("error: 0x:99"), [], "ExecuTorch sat: error: 0x:99."),
        (RuntimeError("error 0x21"), [], "ExecuTorch sat: it could not get the memory"),
        (RuntimeError(), [], "ExecuTorch sat: RuntimeError."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ["x"], "ExecuTorch sat: 'utf-8'"),
    ],
)
def test_errors_are_worded(error: Exception, lines: list[str], message: str) -> None:
    worded = engine._worded("sat", error, lines)
    assert worded.message.startswith(message)
    assert worded.remedy


def test_memory_that_runs_out_is_told_as_such() -> None:
    def exhausted() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        engine._explained("sat", exhausted)


# Threads


def test_sessions_share_the_threads_of_the_process(program: Programs) -> None:
    made = program("small")
    first = engine.open_session(SessionRequest(made.path, made.inputs))
    second = engine.open_session(SessionRequest(made.path, made.inputs))
    with pytest.raises(EngineError, match="another number of threads"):
        engine.open_session(SessionRequest(made.path, made.inputs, threads=2))
    for session in (first, second):  # they are as they were
        session.infer()
        np.testing.assert_allclose(session.outputs()["output_0"], made.outputs()[0], atol=1e-6)
    infer = second.infer
    del first, second, session
    with pytest.raises(EngineError, match="another number of threads"):
        engine.open_session(SessionRequest(made.path, made.inputs, threads=2))
    infer()
    del infer
    gc.collect()
    assert engine.open_session(SessionRequest(made.path, made.inputs, threads=2)).infer()


def test_a_pool_that_does_not_become_what_was_asked_for_is_an_error() -> None:
    class Stuck:
        def _threadpool_get_thread_count(self) -> int:
            return 3

        def _unsafe_reset_threadpool(self, count: int) -> None:
            pass

    gc.collect()
    with pytest.raises(EngineError, match="has 3 threads, not the 4"):
        engine._set_threads(Stuck(), 4)


def test_options_are_what_a_session_is_opened_with(
    program: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.options(2) == {"num_threads": 2, "program_verification": "InternalConsistency"}
    seen = []
    monkeypatch.setattr(
        engine, "_load", lambda *args, load=engine._load: seen.append(args[2]) or load(*args)
    )
    made = program("small")
    monkeypatch.setattr(
        engine, "options", lambda n: {"num_threads": 2, "program_verification": "Minimal"}
    )
    engine.open_session(SessionRequest(made.path, made.inputs))
    assert seen == ["Minimal"]
    assert engine._bindings()._threadpool_get_thread_count() == 2


def test_the_engine_is_imported_late_and_without_its_exporter() -> None:
    script = """
import sys
from mvdeploy import engines
engine = engines.get("executorch")
engine.version()
engine.options(1)
assert not {"torch", "executorch", "numpy"} & set(sys.modules)
engine.start()
assert "torch" in sys.modules and "executorch.exir" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_inner_tensors_cannot_be_read(program: Programs) -> None:
    made = program("small")
    assert (
        engine.read_tensors(SessionRequest(made.path, made.inputs), ["aten_convolution_default"])
        == {}
    )


def test_what_the_engine_says_of_a_failure_is_kept_for_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        print("[a.cpp:1] The disk is on fire.", file=sys.stderr, flush=True)
        raise RuntimeError("error 0x1")

    for _ in range(2):
        with pytest.raises(EngineError, match="sat: an internal error: The disk") as caught:
            engine._explained("sat", fail)
        assert caught.value.__cause__ is not None
        assert caught.value.__cause__.__notes__ == ["[a.cpp:1] The disk is on fire.\n"]
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys, "stderr", None)


def test_what_the_engine_says_else_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    engine._explained("sat", lambda: print("[a.cpp:1] Warm.", file=sys.stderr))
    assert capsys.readouterr().err == "[a.cpp:1] Warm.\n"


def test_loading_is_silent(program: Programs) -> None:
    made = program("small")
    script = f"""
from pathlib import Path
import numpy as np
from mvdeploy import engines
x = np.ones((1, 3, 16, 16), np.float32)
request = engines.SessionRequest(Path({str(made.path)!r}), {{"x": x}})
session = engines.get("executorch").open_session(request)
session.infer()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_the_engine_is_found_the_engine() -> None:
    assert engines.get("executorch") is engine
    assert engines.for_format("executorch", ("onnxruntime", "executorch")) == "executorch"
