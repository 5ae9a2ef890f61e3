"""ExecuTorch's profiles, of the real engine: what is timed, and what it is of the network."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mvdeploy import attribute
from mvdeploy.attribute import executorch, xnnpack
from mvdeploy.engines import SessionRequest
from mvdeploy.engines import executorch as engine
from mvdeploy.engines.executorch import etdump
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, Level, Operator, OperatorKind, OperatorTimes, TimeKind, Trace

RUNS, WARMUP = 3, 2

Inputs = Mapping[str, "np.ndarray"]
Programs = Callable[[str], Any]


def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 96, 96), dtype=np.float32)


def profiled(path: Path, inputs: Inputs, folder: Path, threads: int = 1) -> Path:
    session = engine.open_session(SessionRequest(path, inputs, threads, profile_to=folder / "new"))
    for _ in range(WARMUP + RUNS):
        session.infer()
    made = session.end_profile()
    assert made is not None
    return made


def read(made: Any, folder: Path, threads: int = 1) -> OperatorTimes:
    profile = profiled(made.path, made.inputs, folder, threads)
    return engine.read_profile(made.artifact, profile, RUNS)


def unmatched(times: OperatorTimes) -> list[dict[str, str | int | float]]:
    return [f.values for f in times.findings if f.code == "unmatched_operators"]


@pytest.mark.parametrize("threads", [1, 2])
def test_every_operator_of_a_network_is_placed(xxs, tmp_path: Path, threads: int) -> None:
    profile = profiled(xxs.path, {"image": image()}, tmp_path, threads)
    times = engine.read_profile(xxs.artifact, profile, RUNS)
    assert not unmatched(times)
    assert [e.name for e in times.events] == [op.name for op in xxs.artifact.operators]
    assert [e.modules for e in times.events] == [(op.module,) for op in xxs.artifact.operators]
    assert {e.placed_by for e in times.events} == {"order"}
    assert all(len(e.samples_ns) == len(e.starts_ns) == RUNS for e in times.events)
    starts = [[e.starts_ns[run] for e in times.events] for run in range(RUNS)]
    assert max(starts[0]) < min(starts[1]) <= max(starts[1]) < min(starts[2])
    total = sum(sum(e.samples_ns) for e in times.events)
    trace = Trace("executorch", TimeKind.MEASURED, times.events, (2 * total,), (total,))
    breakdown = attribute.break_down(trace, xxs.artifact, float(total))
    assert breakdown.attributed_share >= 0.995
    (coarse,) = times.findings
    assert coarse.code == "coarse_times" and coarse.level is Level.NOTE
    assert coarse.values["count"] == len(times.events)
    assert 0 < coarse.values["percent"] < 100


def test_weights_tell_the_same_modules(xxs, tmp_path: Path) -> None:
    """Matrix products and convolutions, counted by XNNPACK's names, module by module."""
    profile = profiled(xxs.path, {"image": image()}, tmp_path)
    times = engine.read_profile(xxs.artifact, profile, RUNS)
    heavy = [e for e in times.events if e.type.startswith(("Convolution", "Fully Connected"))]
    found = [e.modules[0] for e in heavy if "norm" not in e.modules[0]]
    layers = {n for n, m in xxs.network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    packed = {n for n in layers if n.endswith("qkv")}
    separate = {f"{n.removesuffix('qkv')}{part}" for n in packed for part in "qkv"}
    assert sorted(found) == sorted(layers - packed | separate)


def test_a_delegates_operators_are_events(program: Programs, tmp_path: Path) -> None:
    times = read(program("small"), tmp_path)
    assert not unmatched(times)
    kinds = [(e.type, e.kind, e.modules) for e in times.events]
    assert kinds == [
        ("Transpose (ND, X32)", OperatorKind.DATA_MOVEMENT, ("conv",)),
        ("Convolution (NHWC, F32) IGEMM", OperatorKind.CONV, ("conv",)),
        ("Sigmoid (NC)", OperatorKind.ACTIVATION, ("act",)),
        ("Multiply (ND)", OperatorKind.ACTIVATION, ("act",)),
        ("Mean (ND) Reduce2", OperatorKind.OTHER, ("",)),
        ("Transpose (ND, X32)", OperatorKind.DATA_MOVEMENT, ("",)),
        ("Static Reshape (NC)", OperatorKind.DATA_MOVEMENT, ("",)),
        ("Fully Connected (NC, F32) GEMM", OperatorKind.MATMUL, ("head",)),
        ("Softmax (NC, F32)", OperatorKind.SOFTMAX, ("",)),
    ]


def test_several_delegates_and_what_is_between_them(program: Programs, tmp_path: Path) -> None:
    times = read(program("two"), tmp_path)
    assert not unmatched(times)
    computing = [e for e in times.events if e.kind is not OperatorKind.DATA_MOVEMENT]
    assert [(e.type, e.modules) for e in computing] == [
        ("Convolution (NHWC, F32) IGEMM", ("a",)),
        ("TanH (NC)", ("",)),
        ("cumsum.out", ("scan",)),
        ("Convolution (NHWC, F32) IGEMM", ("b",)),
        ("Sigmoid (NC)", ("",)),
    ]
    assert len({e.name for e in times.events}) == len(times.events)


def test_a_program_without_delegates(program: Programs, tmp_path: Path) -> None:
    times = read(program("undelegated"), tmp_path)
    assert [(e.type, e.modules) for e in times.events] == [("cumsum.out", ("scan",))] * 2
    assert times.findings == ()  # these times are not whole microseconds


def test_operators_of_every_kind_are_known(program: Programs, tmp_path: Path) -> None:
    times = read(program("zoo"), tmp_path)
    assert len({e.type.split(" (")[0] for e in times.events}) > 30
    # XNNPACK makes one of two reshapes in a row: which of them it is cannot be told.
    assert [e.type for e in times.events if not e.modules] == ["Static Reshape (NC)"]
    assert unmatched(times)[0]["count"] == 1
    modules = {e.type.split(" #")[0]: e.modules for e in times.events}
    assert modules["Convolution (NHWC, F32) DWConv"] == ("deep",)
    assert modules["Deconvolution (NHWC, F32) Subconv2D"] == ("up",)
    assert modules["PReLU (ND)"] == ("prelu",)
    assert modules["Convolution (NHWC, F32) IGEMM"] == ("line",)


def test_every_operator_that_xnnpack_takes_is_in_the_table() -> None:
    from executorch.backends.xnnpack.operators import op_skip_ops
    from executorch.backends.xnnpack.operators.node_visitor import _node_visitor_dict

    taken = {
        target
        for target, visitor in _node_visitor_dict.items()
        if visitor.__module__ != op_skip_ops.__name__
    }
    assert len(taken) > 40
    assert {t for t in taken if xnnpack.base_name(t) not in xnnpack._RUNS_AS} == set()


def test_names_that_are_unknown_are_of_no_kind() -> None:
    assert xnnpack.kind_of_name("Hyper Fold (ND, F32)") is OperatorKind.OTHER
    assert xnnpack.kind_of_name("") is OperatorKind.OTHER
    assert xnnpack.kind_of_name("Fully Connected (NC, F32) GEMM") is OperatorKind.MATMUL
    assert xnnpack.kind_of_name("Convolution (NHWC, QC8) IGEMM") is OperatorKind.CONV
    assert xnnpack.kind("my.fold.out") is OperatorKind.OTHER
    assert xnnpack.kind("") is OperatorKind.OTHER
    assert xnnpack.kind("aten.native_layer_norm.out") is OperatorKind.LAYERNORM
    assert xnnpack.kind("aten.linear.default", "LayerNorm") is OperatorKind.LAYERNORM
    assert not xnnpack.can_run_as("", "")
    assert not xnnpack.can_run_as("aten.fold.default", "Fold (ND)")
    assert not xnnpack.can_run_as("aten.add.Tensor", "Adder (ND) #1")
    assert xnnpack.can_run_as("aten.add.Tensor", "Add (ND) #1")


def test_warm_ups_are_left_out(program: Programs, tmp_path: Path) -> None:
    made = program("two")
    profile = profiled(made.path, made.inputs, tmp_path)
    inferences = etdump.read(profile)
    assert len(inferences) == WARMUP + RUNS
    times = engine.read_profile(made.artifact, profile, RUNS)
    kernel = next(e for e in times.events if e.type == "cumsum.out")
    told = [e.ns for run in inferences for e in run if e.name == "native_call_cumsum.out"]
    assert kernel.samples_ns == tuple(told[WARMUP:])
    assert (
        engine.read_profile(made.artifact, profile, 1).events[0].samples_ns
        == (times.events[0].samples_ns[-1:])
    )


def test_times_are_within_the_inference(program: Programs, tmp_path: Path) -> None:
    made = program("two")
    profile = profiled(made.path, made.inputs, tmp_path)
    times = engine.read_profile(made.artifact, profile, RUNS)
    for i, run in enumerate(etdump.read(profile)[-RUNS:]):
        (whole,) = [e.ns for e in run if e.name == "Method::execute"]
        assert 0 < sum(e.samples_ns[i] for e in times.events) <= whole


def test_the_engines_memory_for_a_profile_is_freed(program: Programs, tmp_path: Path) -> None:
    made = program("small")
    session = engine.open_session(SessionRequest(made.path, made.inputs, profile_to=tmp_path))
    for count in (4, 2):
        for _ in range(count):
            session.infer()
        path = session.end_profile()
        assert path is not None
        assert len(etdump.read(path)) == count
    assert sorted(p.name for p in tmp_path.iterdir()) == ["executorch.etdp"]


# Profiles that do not fit


Change = Callable[[list[Operator]], list[Operator]]


def without(index: int) -> Change:
    return lambda ops: [op for i, op in enumerate(ops) if i != index % len(ops)]


def retyped(index: int, new: str) -> Change:
    return lambda ops: [
        dataclasses.replace(op, type=new) if i == index % len(ops) else op
        for i, op in enumerate(ops)
    ]


def swapped(a: int, b: int) -> Change:
    def change(ops: list[Operator]) -> list[Operator]:
        ops = ops.copy()
        ops[a], ops[b] = ops[b], ops[a]
        return ops

    return change


def moved(delegate: int | None, to: int | None) -> Change:
    return lambda ops: [
        dataclasses.replace(op, delegate=to) if op.delegate == delegate else op for op in ops
    ]


def twice(index: int) -> Change:
    return lambda ops: [*ops[: index + 1], *ops[index:]]


MISFITS: dict[str, tuple[Change, set[int | None], str]] = {
    "one too few": (without(1), {0}, "delegate 0 has 3 recorded operators, and 4 ran"),
    "one too many": (twice(5), {1}, "delegate 1 has 5 recorded operators, and 4 ran"),
    "another type": (
        retyped(1, "aten.linear.default"),
        {0},
        "'Convolution (NHWC, F32) IGEMM #1' ran in delegate 0 where 'aten.linear.default' was",
    ),
    "an unknown type": (retyped(1, "aten.fold.default"), {0}, "where 'aten.fold.default' was"),
    "another order": (swapped(1, 2), {0}, "ran in delegate 0 where 'aten"),
    "a kernel too few": (without(-1), {None}, "the rest of the program has 0 recorded"),
    "another kernel": (
        retyped(-1, "aten.sort.values"),
        {None},
        "'native_call_cumsum.out' ran in the rest of the program where 'aten.sort.values' was",
    ),
    "a delegate too few": (moved(1, None), {1, None}, "delegate 1 has 0 recorded operators"),
    "a delegate too many": (moved(1, 2), {1}, "delegate 2 has 4 recorded operators, and 0 ran"),
    "nothing recorded": (lambda ops: [], {0, 1, None}, "delegate 0 has 0 recorded operators"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_not_placed(program: Programs, tmp_path: Path, misfit: str) -> None:
    made = program("two")
    change, unplaced, words = MISFITS[misfit]
    profile = profiled(made.path, made.inputs, tmp_path)
    right = engine.read_profile(made.artifact, profile, RUNS)
    operators = tuple(change(list(made.artifact.operators)))
    artifact = dataclasses.replace(made.artifact, operators=operators)
    times = engine.read_profile(artifact, profile, RUNS)
    delegates = {op.name: op.delegate for op in made.artifact.operators}
    assert len(times.events) == len(right.events)
    for event, known in zip(times.events, right.events, strict=True):
        assert event.samples_ns == known.samples_ns
        assert event.type == known.type
        if delegates[known.name] in unplaced:
            assert (event.modules, event.placed_by) == ((), "")
            assert event.name.startswith(event.type) or event.name == f"native_call_{event.type}"
        else:
            assert event == known
    (finding,) = [f for f in times.findings if f.code == "unmatched_operators"]
    assert finding.level is Level.WARNING
    assert words in str(finding.values["reason"])
    assert finding.values["count"] == sum(not e.modules for e in times.events)


def test_what_may_have_been_merged_is_not_placed_and_the_rest_is(
    program: Programs, tmp_path: Path
) -> None:
    made = program("two")
    operators = list(made.artifact.operators)
    first = next(i for i, op in enumerate(operators) if op.delegate == 1)
    assert operators[first].type == "aten._to_copy.default"
    profile = profiled(made.path, made.inputs, tmp_path)
    right = engine.read_profile(made.artifact, profile, RUNS)
    artifact = dataclasses.replace(made.artifact, operators=tuple(twice(first)(operators)))
    times = engine.read_profile(artifact, profile, RUNS)
    for event, known in zip(times.events, right.events, strict=True):
        if known.name == operators[first].name:
            assert (event.name, event.modules) == ("Transpose (ND, X32) #1", ())
        else:
            assert event == known
    reason = "delegate 1 has 5 recorded operators, and 4 ran"
    assert unmatched(times) == [{"count": 1, "reason": reason}]


def test_an_operator_that_took_in_another_is_placed(program: Programs, tmp_path: Path) -> None:
    made = program("fused")
    assert [op.type for op in made.artifact.operators] == [
        "aten.permute_copy.default",
        "aten.bmm.default",
    ]
    times = read(made, tmp_path)
    (event,) = times.events
    assert (event.name, event.modules) == (made.artifact.operators[1].name, ("",))
    assert [(f.code, f.values) for f in times.findings if f.code != "coarse_times"] == [
        ("merged_operators", {"count": 1})
    ]


TYPES = {
    "aten.linear.default": "Fully Connected (NC, F32) GEMM",
    "aten.convolution.default": "Fully Connected (NC, F32) GEMM",
    "aten.permute_copy.default": "Transpose (ND, X32)",
    "aten._to_copy.default": "Transpose (ND, X32)",
    "aten.view_copy.default": "Static Reshape (NC)",
    "aten.add.Tensor": "Add (ND)",
}


@given(
    drawn=st.lists(
        st.tuples(st.sampled_from(sorted(TYPES)), st.booleans()), min_size=1, max_size=12
    )
)
def test_no_event_is_ever_given_to_another_operator(
    bare: Artifact, drawn: list[tuple[str, bool]]
) -> None:
    """Whatever changes of layout the engine merges."""
    operators = tuple(
        Operator(f"n{i}", type_, f"m{i}", (), (), 0) for i, (type_, _) in enumerate(drawn)
    )
    before = ["", *(type_ for type_, _ in drawn)]
    ran = [
        op
        for op, (type_, merged), first in zip(operators, drawn, before, strict=False)
        if not (merged and xnnpack.can_merge(type_, first))
    ]
    events = [etdump.Event(f"{TYPES[op.type]} #1", 0, True, 1500) for op in ran]
    artifact = dataclasses.replace(bare, operators=operators)
    call = etdump.Event("DELEGATE_CALL", 0, False, 99_000)
    times = executorch.place(artifact, [[*events, call]])
    if not events:  # then the call stands for what is in it
        assert [e.modules for e in times.events] == [()]
        return
    assert len(times.events) == len(ran)
    for event, op in zip(times.events, ran, strict=True):
        assert event.modules in ((op.module,), ())
    if len(ran) == len(operators):
        assert all(e.modules for e in times.events) and not times.findings
    else:
        assert {f.code for f in times.findings} & {"merged_operators", "unmatched_operators"}


def test_many_misfits_are_one_short_finding(program: Programs, tmp_path: Path) -> None:
    made = program("small")
    profile = profiled(made.path, made.inputs, tmp_path)
    operators = tuple(
        dataclasses.replace(op, delegate=i) for i, op in enumerate(made.artifact.operators)
    )
    times = engine.read_profile(dataclasses.replace(made.artifact, operators=operators), profile, 1)
    (values,) = unmatched(times)
    assert str(values["reason"]).endswith("; and 6 more")


def test_a_delegate_that_tells_nothing_is_one_operator(
    program: Programs,
) -> None:
    made = program("two")
    call = etdump.Event("DELEGATE_CALL", 0, False, 5, 100)
    kernel = etdump.Event("OPERATOR_CALL", 1, False, 7, 110)
    times = executorch.place(made.artifact, [[call, kernel]])
    assert [(e.name, e.modules, e.samples_ns, e.starts_ns) for e in times.events] == [
        ("DELEGATE_CALL", (), (5,), (100,)),
        ("OPERATOR_CALL", (), (7,), (110,)),
    ]
    assert len(times.findings) == 1


# The file


def test_the_reader_reads_what_executorchs_own_reads(program: Programs, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.devtools.etdump.serialize import deserialize_from_etdump_flatcc

        profile = profiled(program("two").path, program("two").inputs, tmp_path)
        runs = deserialize_from_etdump_flatcc(profile.read_bytes()).run_data
    expected = []
    for run in runs:
        if run.name == "Execute":
            events = [e.profile_event for e in run.events]
            expected.append(
                [
                    (
                        e.delegate_debug_id_str or e.name,
                        e.instruction_id,
                        e.delegate_debug_id_str is not None,
                        e.end_time - e.start_time,
                        e.start_time,
                    )
                    for e in events
                ]
            )
    assert [[tuple(event) for event in run] for run in etdump.read(profile)] == expected


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("no profile " * 99),
    "a header": lambda p: p.write_bytes(p.read_bytes()[:12]),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "the end": lambda p: p.write_bytes(p.read_bytes()[:12] + p.read_bytes()[-3000:]),
    "zeros": lambda p: p.write_bytes(p.read_bytes()[:12] + bytes(9999)),
    "ones": lambda p: p.write_bytes(p.read_bytes()[:12] + b"\xff" * 9999),
    "another version": lambda p: p.write_bytes(p.read_bytes().replace(b"ED00", b"ED01")),
    "no inference": lambda p: p.write_bytes(p.read_bytes().replace(b"Execute", b"Execuse")),
    "other operators": lambda p: p.write_bytes(p.read_bytes().replace(b"Sigmoid", b"Sigmund", 1)),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_profile_is_an_engine_error(program: Programs, tmp_path: Path, fault: str) -> None:
    made = program("small")
    profile = profiled(made.path, made.inputs, tmp_path)
    BROKEN[fault](profile)
    with pytest.raises(EngineError, match="The profile of ExecuTorch cannot be used: "):
        engine.read_profile(made.artifact, profile, RUNS)


def test_an_offset_before_the_file_is_not_counted_from_its_end(
    bare: Artifact, tmp_path: Path
) -> None:
    data = bytearray(4) + (8).to_bytes(4, "little") + b"ED00" + (50).to_bytes(4, "little")
    (tmp_path / "x.etdp").write_bytes(data + bytes(99))
    with pytest.raises(EngineError, match="damaged \\(an offset is negative\\)"):
        engine.read_profile(bare, tmp_path / "x.etdp", 1)


def test_too_few_inferences_are_an_engine_error(program: Programs, tmp_path: Path) -> None:
    made = program("small")
    profile = profiled(made.path, made.inputs, tmp_path)
    with pytest.raises(EngineError, match="it has 5 inferences of 6"):
        engine.read_profile(made.artifact, profile, 6)


@pytest.fixture(scope="module")
def dump(
    program: Programs, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, bytes, Path]:
    made = program("two")
    folder = tmp_path_factory.mktemp("dump")
    return made.artifact, profiled(made.path, made.inputs, folder).read_bytes(), folder / "x.etdp"


@given(seed=st.integers(0, 2**32))
def test_a_damaged_profile_is_read_or_refused(
    dump: tuple[Artifact, bytes, Path], seed: int
) -> None:
    artifact, data, path = dump
    rng = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        damaged[rng.randrange(12, len(damaged))] = rng.randrange(256)
    path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
    try:
        times = engine.read_profile(artifact, path, RUNS)
    except EngineError as error:
        assert "The profile of ExecuTorch cannot be used" in error.message
    else:
        assert all(ns >= 0 for e in times.events for ns in e.samples_ns)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-fast"])
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_operators_in_whole_numbers_are_placed(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNNPACK merges what quantises for a linear layer with it, and SiLU into one table."""
    from mvdeploy import formats, models
    from mvdeploy.pipeline import calibration
    from mvdeploy.pipeline.export import Builder
    from tests.quantization import networks

    monkeypatch.setattr(calibration, "ANSWERS", 2)
    spec = models.make_spec(f"{networks.__file__}:silus_and_linear")
    builder = Builder(spec, wish=calibration.Wish(2))
    made = builder.export("executorch", tmp_path / "a.pte", formats.Options(precision))
    (tensor,) = made.artifact.inputs
    shape = tuple(map(int, tensor.shape))
    fed = {tensor.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    profile = profiled(made.path, fed, tmp_path)
    times = engine.read_profile(made.artifact, profile, RUNS)
    assert not unmatched(times)
    assert all(event.modules for event in times.events)
    assert "merged_operators" in {finding.code for finding in times.findings}
