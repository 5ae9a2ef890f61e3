from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import importlib.metadata
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import attribute, engines
from mvdeploy.engines import SessionRequest
from mvdeploy.engines.litert import library, profile
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.records import Category, OperatorKind, TimeKind, Trace
from tests.engines import litert_programs
from tests.engines.litert_programs import Program, program

__all__ = ["program"]

ENGINE: Any = engines.get("litert")
BAD_FLATBUFFER = "it is damaged, or no LiteRT program"


def request(made: Program, **fields: Any) -> SessionRequest:
    return dataclasses.replace(SessionRequest(made.path, made.inputs), **fields)


def refused(made: Program, **fields: Any) -> EngineError:
    """Return the error of a request, once it is a sentence and a remedy."""
    with pytest.raises(EngineError) as error:
        ENGINE.open_session(request(made, **fields))
    for sentence in (error.value.message, error.value.remedy):
        assert sentence.endswith(".") and not sentence.endswith("..") and "\n" not in sentence
    return error.value


# Sessions


@pytest.mark.parametrize("name", litert_programs.NETWORKS)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_what_the_network_does(program, name: str, threads: int) -> None:
    made = program(name)
    session = ENGINE.open_session(request(made, threads=threads))
    assert session.end_profile() is None
    for _ in range(2):
        session.infer()
    outputs, expected = session.outputs(), made.expected()
    assert set(outputs) == set(expected)
    for output, tensor in expected.items():
        assert outputs[output].dtype == tensor.dtype
        np.testing.assert_allclose(outputs[output], tensor, atol=1e-5, rtol=0)


def test_inputs_are_fed_anew_and_outputs_are_the_callers(program) -> None:
    made = program("small")
    session = ENGINE.open_session(request(made))
    session.infer()
    first = session.outputs()["logits"]
    kept = first.copy()
    strided = np.asfortranarray(made.inputs["image"][..., ::-1])
    session.feed({"image": strided})
    session.infer()
    np.testing.assert_array_equal(first, kept)
    again = dataclasses.replace(made, inputs={"image": strided})
    np.testing.assert_allclose(
        session.outputs()["logits"], again.expected()["logits"], atol=1e-5, rtol=0
    )


def test_sessions_live_side_by_side_and_are_freed(program) -> None:
    made = program("small")
    sessions = [ENGINE.open_session(request(made, threads=n)) for n in (1, 2, 1)]
    for session in sessions:
        session.infer()
    outputs = [session.outputs()["logits"] for session in sessions]
    np.testing.assert_array_equal(outputs[0], outputs[2])
    process, sessions = psutil.Process(), []

    def many() -> int:
        for _ in range(60):
            ENGINE.open_session(request(made)).infer()
        return process.memory_info().rss

    assert many() - many() > -8_000_000  # one takes 0.3 MB and more


@pytest.mark.parametrize(
    ("chosen", "differs"),
    [({}, False), ({"kernel_mode": "builtin"}, False), ({"force_fp16": "on"}, True)],
)
def test_options_are_what_a_session_is_opened_with(
    program, tmp_path: Path, chosen: dict[str, str], differs: bool
) -> None:
    made = program("small")
    usual = {"num_threads": 2, "kernel_mode": "delegate", "force_fp16": "off"}
    assert engines.options(ENGINE, 2) == usual
    assert engines.options(ENGINE, 2, chosen) == {**usual, **chosen}
    session = ENGINE.open_session(request(made, options=chosen, profile_to=tmp_path))
    session.infer()
    difference = np.abs(session.outputs()["logits"] - made.expected()["logits"]).max()
    assert bool(difference > 1e-6) is differs
    assert difference < 1e-2
    (ran,) = profile.read(session.end_profile())
    assert {event.delegated for event in ran} == {chosen.get("kernel_mode") != "builtin"}
    kernels = {event.name for event in ran if event.name.startswith(("Convolution", "Fully"))}
    assert kernels or chosen.get("kernel_mode") == "builtin"
    assert all(("F16)" in name) is differs for name in kernels)


@pytest.mark.parametrize("name", ["kernel_mode", "force_fp16", "num_cores"])
def test_a_value_that_an_option_does_not_have_is_refused(program, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        ENGINE.open_session(request(program("small"), options={name: "maybe"}))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("fpu avx512f avx512_fp16 sse", ""),
        ("fpu avx512f not_avx512_fp16", "computes halves in float32"),
        (None, "computes halves in float32"),
    ],
)
def test_halves_are_emulated_where_the_processor_has_none(
    processor: Callable[[str | None], None], flags: str | None, said: str
) -> None:
    processor(flags)
    clause = ENGINE.emulated("fp16", "x86_64")
    assert said in clause and bool(said) is bool(clause)
    assert ENGINE.emulated("fp16", "aarch64") == ""
    assert ENGINE.emulated("int8", "x86_64") == ""
    assert ENGINE.lacks("fp16", "aarch64") == ""


def test_a_program_in_halves_is_computed_in_halves() -> None:
    assert ENGINE.for_precision("fp16") == {"force_fp16": "on"}
    assert ENGINE.for_precision("fp32") == ENGINE.for_precision("int8") == {}


# What cannot be run


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda data: data[: len(data) // 2], BAD_FLATBUFFER),
    "text": (lambda data: b"no program at all" * 9, BAD_FLATBUFFER),
    "short": (lambda data: data[:7], BAD_FLATBUFFER),
    "empty": (lambda data: b"", "empty"),
    "another identifier": (lambda data: data.replace(b"TFL3", b"TFL9", 1), BAD_FLATBUFFER),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(program, tmp_path: Path, damage: str) -> None:
    made = program("small")
    harm, said = DAMAGE[damage]
    path = tmp_path / "net.tflite"
    path.write_bytes(harm(made.path.read_bytes()))
    error = refused(dataclasses.replace(made, path=path))
    assert said in error.message and "net.tflite" in error.message
    with pytest.raises(EngineError, match=r"cannot show the tensors of net\.tflite"):
        ENGINE.read_tensors(request(made, path=path), ["x"])


def test_a_file_that_is_not_there_is_refused(program, tmp_path: Path) -> None:
    error = refused(program("small"), path=tmp_path / "none.tflite")
    assert "could not be read (No such file or directory)" in error.message


@pytest.mark.parametrize("part", ["load", "run"])
def test_no_bit_that_is_flipped_takes_the_process_down(program, tmp_path: Path, part: str) -> None:
    """Read by its path, the engine follows what is in it unchecked: of these, 9 of 100 kill."""
    made = program("small")
    data, chance = made.path.read_bytes(), random.Random(part)
    ends: Counter[str] = Counter()
    ENGINE.start()
    for number in range(100):
        harmed = bytearray(data)
        harmed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(harmed)
        ends[in_a_process(lambda path=path: run_whole(request(made, path=path)))] += 1
    assert set(ends) <= {"ran", "EngineError"}, ends
    assert min(ends["ran"], ends["EngineError"]) > 10


def run_whole(asked: SessionRequest) -> None:
    session = ENGINE.open_session(asked)
    session.infer()
    session.outputs()


def in_a_process(do: Callable[[], object]) -> str:
    """Return how a process ended that did something: by which error, by which signal, or well."""
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(60)
            try:
                do()
                said = "ran"
            except BaseException as error:
                said = type(error).__name__
            os.write(start, said.encode())
        os._exit(0)
    os.close(start)
    with os.fdopen(end, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return signal.Signals(status & 127).name if status & 127 else said


def test_inputs_that_do_not_fit_are_refused(program) -> None:
    made = program("whole")
    image, numbers = made.inputs["x"], made.inputs["n"]
    unfit = {
        "The input 'x' is float64, and the program takes float32": {
            "x": image.astype(np.float64),
            "n": numbers,
        },
        "The input 'n' is (1, 4), and the program takes (4,)": {"x": image, "n": numbers[None]},
        "The program takes x, n, and x was given": {"x": image},
        "The program takes x, n, and x, n, more was given": {**made.inputs, "more": image},
        "The program takes x, n, and nothing was given": {},
    }
    for said, inputs in unfit.items():
        assert refused(made, inputs=inputs).message == f"{said}."
    session = ENGINE.open_session(request(made))
    with pytest.raises(EngineError, match="'x' is float64"):
        session.feed({"x": image.astype(np.float64), "n": numbers})


def test_memory_that_runs_out_is_told(program, tmp_path: Path) -> None:
    """How much is enough depends on the system: from nothing to plenty, every end is told."""
    made = program("small")

    def bounded(more: int) -> None:
        limit = psutil.Process().memory_info().vms + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        run_whole(request(made))

    ENGINE.start()
    ends = [in_a_process(lambda more=more: bounded(more)) for more in range(0, 400_000, 40_000)]
    assert set(ends) <= {"ran", "EngineError", "MemoryError"}, ends
    assert ends[0] in ("EngineError", "MemoryError")


def test_a_file_that_finds_no_memory_is_told(program, monkeypatch: pytest.MonkeyPatch) -> None:
    def mapped(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(ENGINE.mmap, "mmap", mapped)
    with pytest.raises(MemoryError):
        ENGINE.open_session(request(program("small")))


def test_memory_that_the_engine_has_not_is_told() -> None:
    with pytest.raises(MemoryError, match="out of memory"), ENGINE._explained("cannot"):
        raise library.Refusal(2)
    with pytest.raises(EngineError, match=r"cannot \(error 77\)\."), ENGINE._explained("cannot"):
        raise library.Refusal(77)


@pytest.fixture
def fresh() -> Iterator[None]:
    """Have the library looked for again, before and after."""
    library.loaded.cache_clear()
    yield
    library.loaded.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_it_says_that_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(EngineError, match=r"not installed here .* pip install ai-edge-litert"):
        ENGINE.start()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("content", [None, b"no library", b"empty"])
def test_it_says_that_its_library_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    class Distribution:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    path = tmp_path / "ai_edge_litert/libLiteRt.so"
    path.parent.mkdir()
    if content == b"empty":  # a library that has none of the functions
        words = ["gcc", "-shared", "-o", str(path), "-xc", "/dev/null"]
        subprocess.run(words, check=True)
    elif content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Distribution())
    with pytest.raises(EngineError, match=r"The library of LiteRT cannot be used \("):
        ENGINE.start()


def test_its_file_is_light_to_import() -> None:
    code = (
        "import sys; import mvdeploy.engines.litert\n"
        "print([m for m in ('numpy', 'torch', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_printed(program, capfd: pytest.CaptureFixture[str]) -> None:
    run_whole(request(program("small")))
    assert capfd.readouterr() == ("", "")


def test_what_is_declared_is_as_large_as_the_engine_has_it() -> None:
    """Sizes of its own headers, which its packages do not bring."""
    assert ctypes.sizeof(library.TensorType) == 72
    assert ctypes.sizeof(library._EnvironmentOption) == 24
    assert ctypes.sizeof(library.ProfilerEvent) == 104


# Inner tensors


def test_inner_tensors_are_read(program) -> None:
    made = program("small")
    names = [op.outputs[0].rpartition("@")[0] for op in made.artifact.operators]
    found = ENGINE.read_tensors(request(made), [*names, "nowhere"])
    assert set(found) == set(names)
    convolution = next(n for n, op in zip(names, made.artifact.operators, strict=True)
                       if op.type == "CONV_2D")  # fmt: skip
    import torch

    with torch.inference_mode():
        expected = made.network.conv(torch.from_numpy(made.inputs["image"])).numpy()
    np.testing.assert_allclose(found[convolution], expected.transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(found[names[-1]], made.expected()["logits"], atol=1e-6)
    assert ENGINE.read_tensors(request(made), []) == {}


# Profiles


def profiled(made: Program, folder: Path, runs: int, **options: str) -> Path:
    session = ENGINE.open_session(request(made, profile_to=folder, options=options))
    for _ in range(runs):
        session.infer()
    path = session.end_profile()
    assert isinstance(path, Path)
    return path


def test_operators_in_a_delegate_are_placed(program, tmp_path: Path) -> None:
    made = program("small")
    times = ENGINE.read_profile(made.artifact, profiled(made, tmp_path, 5), 3)
    operators = {op.name: op for op in made.artifact.operators}
    # The padding is done by the convolution behind it.
    assert [operators[e.name].type for e in times.events if e.placed_by == "order"] == [
        op.type for op in made.artifact.operators if op.type != "PAD"
    ]
    for event in times.events:
        assert len(event.samples_ns) == 3
        assert event.modules == (
            (operators[event.name].module,)
            if event.placed_by == "order"
            else (made.artifact.operators[-1].module,)
        )
    kinds = {operators[e.name].type: e.kind for e in times.events if e.placed_by == "order"}
    assert kinds == {
        "TRANSPOSE": OperatorKind.DATA_MOVEMENT,
        "CONV_2D": OperatorKind.CONV,
        "LOGISTIC": OperatorKind.ACTIVATION,
        "MUL": OperatorKind.ACTIVATION,  # of a SiLU
        "MEAN": OperatorKind.OTHER,
        "FULLY_CONNECTED": OperatorKind.MATMUL,
        "SOFTMAX": OperatorKind.SOFTMAX,
    }
    assert {finding.code for finding in times.findings} <= {"coarse_times"}


def test_operators_run_in_another_order_than_the_files(program, tmp_path: Path) -> None:
    made = program("cut")
    path = profiled(made, tmp_path, 2)
    times = ENGINE.read_profile(made.artifact, path, 1)
    ran = [(made.artifact.operators[int(e.name)].type, e.modules) for e in times.events]
    file = [op.type for op in made.artifact.operators]
    assert file.index("CUMSUM") < file.index("LOGISTIC")
    names = [name for name, _ in ran]
    assert names.index("LOGISTIC") < names.index("CUMSUM")
    convolutions = [modules for name, modules in ran if name == "CONV_2D"]
    assert convolutions == [("Conv2d_a",), ("Conv2d_late",), ("Conv2d_b",)]
    (outside,) = (event for event in times.events if event.placed_by == "name")
    assert (outside.type, outside.kind) == ("CUMSUM", OperatorKind.OTHER)
    # Numbers in delegates begin anew in each, which is not used to place anything.
    told = [event for event in json.loads(path.read_text())["events"] if event[1] in (2, 8)]
    begins = [i for i, event in enumerate(told) if event[1] == 8 and event[2] == 0]
    last = len(told) // 2
    assert [i - last for i in begins if i >= last] == [0, names.index("CUMSUM") + 1]


def test_the_engines_own_kernels_are_placed(program, tmp_path: Path) -> None:
    made = program("small")
    path = profiled(made, tmp_path, 2, kernel_mode="builtin")
    times = ENGINE.read_profile(made.artifact, path, 2)
    assert [event.name for event in times.events] == [op.name for op in made.artifact.operators]
    assert {event.placed_by for event in times.events} == {"name"}
    assert times.findings == ()


def test_what_is_added_for_halves_counts_with_its_neighbour(program, tmp_path: Path) -> None:
    made = program("small")
    halves = dataclasses.replace(made.artifact, precision="fp16")
    times = ENGINE.read_profile(halves, profiled(made, tmp_path, 2, force_fp16="on"), 1)
    added = [event for event in times.events if event.type.startswith("Convert")]
    assert [event.modules for event in added] == [
        (made.artifact.operators[0].module,),
        (made.artifact.operators[-1].module,),
    ]
    assert {event.placed_by for event in added} == {"neighbour"}
    assert "computed_in_float32" not in {finding.code for finding in times.findings}


def test_halves_that_were_computed_in_float32_are_told_of(program, tmp_path: Path) -> None:
    made = program("small")
    halves = dataclasses.replace(made.artifact, precision="fp16")
    path = profiled(made, tmp_path, 2)
    codes = {finding.code for finding in ENGINE.read_profile(halves, path, 1).findings}
    assert "computed_in_float32" in codes
    codes = {finding.code for finding in ENGINE.read_profile(made.artifact, path, 1).findings}
    assert "computed_in_float32" not in codes


def test_every_finding_has_words() -> None:
    assert set(ENGINE.WORDS) == {"unmatched_events", "computed_in_float32", "coarse_times"}
    for sentences in ENGINE.WORDS.values():
        assert all(sentence.endswith(".") for sentence in sentences)


@pytest.mark.slow
def test_mobilevit_is_attributed(exported, tmp_path: Path) -> None:
    small = exported("litert")
    shape = small.artifact.inputs[0].shape
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    session = ENGINE.open_session(SessionRequest(small.path, {"image": image}, profile_to=tmp_path))
    for _ in range(4):
        session.infer()
    times = ENGINE.read_profile(small.artifact, session.end_profile(), 3)
    total = sum(sum(event.samples_ns) for event in times.events)
    trace = Trace("litert", TimeKind.MEASURED, times.events, (2 * total,), (total,))
    breakdown = attribute.break_down(trace, small.artifact, float(total))
    assert breakdown.attributed_share >= 0.999
    assert breakdown.placed_share >= 0.999
    assert set(Category.ordered(())) <= set(breakdown.by_category())
    assert {finding.code for finding in times.findings} <= {"coarse_times"}
    modules = small.artifact.modules
    for kind, types in (
        ({"Conv2d"}, ("CONV_2D", "DEPTHWISE_CONV_2D")),
        (
            {"Linear"},
            ("FULLY_CONNECTED",),
        ),
    ):
        with_weights = {
            path
            for path, info in modules.items()
            # The packed projection is three linear layers in the file.
            if info.class_name in kind and not path.endswith(".qkv")
        }
        found = Counter(
            event.modules[0]
            for event in times.events
            if operator_type(small, event.name) in types and event.modules[0] in with_weights
        )
        assert set(found) == with_weights and set(found.values()) == {1}
    # Where the file says which delegate an operator is in, that is where it ran.
    delegates = {op.name: op.delegate for op in small.artifact.operators}
    assert {delegates[event.name] for event in times.events if event.placed_by == "order"} == {0}


def operator_type(made: Any, name: str) -> str:
    return next((op.type for op in made.artifact.operators if op.name == name), "")


# Profiles that are broken


@pytest.fixture
def told(program, tmp_path: Path) -> tuple[Program, Path]:
    made = program("cut")
    return made, profiled(made, tmp_path, 3)


def edited(path: Path, edit: Callable[[list[list[Any]]], object]) -> None:
    events = json.loads(path.read_text())["events"]
    result = edit(events)
    path.write_text(json.dumps({"events": events if result is None else result}))


def first_operator(events: list[list[Any]]) -> list[Any]:
    return next(event for event in events if event[1] == 8)


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_text(""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "missing": lambda p: p.unlink(),
    "no text": lambda p: p.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda p: p.write_text("[]"),
    "null": lambda p: p.write_text("null"),
    "no events": lambda p: p.write_text('{"events": []}'),
    "numbers": lambda p: p.write_text('{"events": [1, 2]}'),
    "deeply nested": lambda p: p.write_text("[" * 100_000),
    "a short event": lambda p: edited(p, lambda es: first_operator(es).pop() and None),
    "a negative time": lambda p: edited(p, lambda es: first_operator(es).__setitem__(4, -1)),
    "a time that is none": lambda p: edited(p, lambda es: first_operator(es).__setitem__(4, "x")),
    "a name that is none": lambda p: edited(p, lambda es: first_operator(es).__setitem__(0, 1)),
    "too few inferences": lambda p: edited(p, lambda es: es[: len(es) // 2]),
    "another operator once": lambda p: edited(
        p, lambda es: first_operator(es[::-1]).__setitem__(0, "x")
    ),
    "no operators": lambda p: edited(p, lambda es: [e for e in es if e[1] == 1]),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_profile_is_an_engine_error(told: tuple[Program, Path], fault: str) -> None:
    made, path = told
    ENGINE.read_profile(made.artifact, path, 3)
    BROKEN[fault](path)
    with pytest.raises(EngineError, match="The profile of LiteRT cannot be used: it"):
        ENGINE.read_profile(made.artifact, path, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([profile._BEGIN, "Invoke", "CONV_2D"]) | st.text(),
        st.sampled_from([1, 2, 8, 32]) | st.integers(),
        *[st.integers(-1, 2**64)] * 3,
    )
)


@given(content=JSON | st.fixed_dictionaries({"events": JSON | EVENTS}))
def test_whatever_stands_in_a_profile_is_read_or_refused(
    content: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        inferences = profile.read(path)
    except profile.BadProfileError:
        return
    assert all(event.ns >= 0 for inference in inferences for event in inference)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / profile.NAME
    begin = (profile._BEGIN, 1, 0, 5, 1)
    profile.write(path, [begin, ("Copy", 8, 0, 0, 3), ("CUMSUM", 2, 7, 9, 2), begin])
    assert profile.read(path) == [
        [("Copy", True, 0, 3000), ("CUMSUM", False, 7, 2000)],
        [],
    ]
