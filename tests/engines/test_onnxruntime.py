"""Where ONNX Runtime's kernels are counted, checked against what they compute.

The engine rewrites the graph, so names prove little. Here every tensor of both graphs is computed,
and a kernel is known by its result: tensors are compared by moments that no transposition, padding
or re-layout changes. This shares nothing with the placement that is tested.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mvdeploy import attribute, engines
from mvdeploy.engines import SessionRequest
from mvdeploy.engines import onnxruntime as onnxruntime_engine
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, Category, Operator, OperatorKind, TimeKind, Trace, TraceEvent
from tests import others

ENGINE = engines.get("onnxruntime")
RUNS, WARMUP = 3, 2

CASES = [
    pytest.param("mobilevit_xxs", "2,2,2", 1, id="A"),
    pytest.param("mobilevit_xs", "8,4,2", 1, id="B", marks=pytest.mark.slow),
    pytest.param("mobilevit_xxs", "2,2,2", 2, id="A on 2 threads"),
]


@dataclasses.dataclass(frozen=True)
class Profiled:
    artifact: Artifact
    exported: Path
    profile: Path
    events: tuple[TraceEvent, ...]
    image: np.ndarray

    @property
    def optimised(self) -> Path:
        return self.profile.with_name("optimised.onnx")


@pytest.fixture(scope="module")
def profiled(exported, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Profiled]:
    known: dict[tuple[object, ...], Profiled] = {}

    def make(
        model: str, patches: str, threads: int, size: str = "128", operators: str | None = None
    ) -> Profiled:
        key = (model, patches, threads, size, operators)
        if key not in known:
            own = {"operators": operators, "depths": "2,4,3"}
            made = exported(model=model, patches=patches, size=size, **own)
            shape = made.artifact.inputs[0].shape
            image = np.random.default_rng(0).random(shape, dtype=np.float32)
            folder = tmp_path_factory.mktemp("profile")
            session = ENGINE.open_session(
                SessionRequest(made.path, {"image": image}, threads, profile_to=folder)
            )
            for _ in range(WARMUP + RUNS):
                session.infer()
            profile = session.end_profile()
            assert profile is not None
            events = ENGINE.read_profile(made.artifact, profile, RUNS).events
            known[key] = Profiled(made.artifact, made.path, profile, events, image)
        return known[key]

    return make


# Coverage


def test_weights_in_whole_numbers_that_are_shared_are_loaded(tmp_path: Path) -> None:
    feed = others.quantised(tmp_path / "net.onnx")
    asked = onnxruntime.SessionOptions()
    asked.log_severity_level = 4
    asked.add_session_config_entry("session.x64quantprecision", "1")
    plain = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    if platform.machine() == "x86_64":
        with pytest.raises(Exception, match="existing tensor"):
            onnxruntime.InferenceSession(tmp_path / "net.onnx", asked)
    session = ENGINE.open_session(SessionRequest(tmp_path / "net.onnx", feed, 1))
    session.infer()
    np.testing.assert_array_equal(session.outputs()["y"], plain.run(None, feed)[0])


@pytest.mark.parametrize(
    ("flags", "wide"),
    [
        ("fpu avx512f avx512_vnni sse", "0"),
        ("fpu avx2 avx_vnni", "0"),
        ("fpu avx2 avx512f", "1"),
        ("fpu not_avx512_vnni", "1"),
        (None, "1"),
    ],
)
def test_unsigned_weights_are_asked_for_where_there_is_no_vnni(
    monkeypatch: pytest.MonkeyPatch,
    processor: Callable[[str | None], None],
    flags: str | None,
    wide: str,
) -> None:
    """On processors with it, they cost a fifth of the time."""
    processor(flags)
    asked: list[str] = []
    monkeypatch.setattr(
        ENGINE, "_session", lambda *_, unsigned_weights: asked.append(unsigned_weights)
    )
    ENGINE._load("a.onnx", object, "CPUExecutionProvider")
    assert asked == [wide]


@pytest.mark.parametrize(("said", "stands"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_its_user_says_so(
    monkeypatch: pytest.MonkeyPatch, said: str | None, stands: str
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if said is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", said)
    ENGINE.start()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == stands


@pytest.mark.parametrize(("model", "patches", "threads"), CASES)
def test_operator_time_is_attributed(profiled, model: str, patches: str, threads: int) -> None:
    case = profiled(model, patches, threads)
    total = sum(sum(e.samples_ns) for e in case.events)
    trace = Trace("onnxruntime", TimeKind.MEASURED, case.events, (2 * total,), (total,))
    breakdown = attribute.break_down(trace, case.artifact, float(total))
    assert breakdown.attributed_share >= 0.999
    assert all(ns > 0 for ns in breakdown.by_category().values())
    assert [row.name for row in breakdown.rows if row.category is None] == []


@pytest.mark.parametrize(("model", "patches", "threads"), CASES)
def test_every_profiled_node_is_one_event(profiled, model: str, patches: str, threads: int) -> None:
    case = profiled(model, patches, threads)
    timed = [
        entry["name"]
        for entry in json.loads(case.profile.read_text())
        if entry["cat"] == "Node" and entry["name"].endswith("_kernel_time")
    ]
    names = {name.removesuffix("_kernel_time") for name in timed}
    assert len(timed) == len(names) * (WARMUP + RUNS)
    assert len(case.events) == len(names)
    assert {event.name for event in case.events} == names
    assert len(names) > 300
    nodes = {n.name: n for n in onnx.load(case.optimised, load_external_data=False).graph.node}
    for event in case.events:
        assert event.type == nodes[event.name].op_type
        assert len(event.samples_ns) == RUNS
        assert all(0 <= ns < 10**10 and ns % 1000 == 0 for ns in event.samples_ns)
        assert event.track
    # One inference after the other.
    starts = [[event.starts_ns[run] for event in case.events] for run in range(RUNS)]
    assert max(starts[0]) < min(starts[1]) <= max(starts[1]) < min(starts[2])


@pytest.mark.parametrize(("model", "patches", "threads"), CASES)
def test_every_module_that_computes_is_named(
    profiled, model: str, patches: str, threads: int
) -> None:
    case = profiled(model, patches, threads)
    assert {m for event in case.events for m in event.modules} == {
        op.module for op in case.artifact.operators
    }


def test_time_of_its_own_operators_is_attributed(profiled) -> None:
    case = profiled("mobilevit_xxs", "2,2,2", 1, operators="onnxruntime")
    total = sum(sum(e.samples_ns) for e in case.events)
    trace = Trace("onnxruntime", TimeKind.MEASURED, case.events, (2 * total,), (total,))
    breakdown = attribute.break_down(trace, case.artifact, float(total))
    assert breakdown.attributed_share >= 0.999
    attention = [event for event in case.events if event.type == "MultiHeadAttention"]
    assert len(attention) == 9
    for event in attention:
        assert event.modules[0].endswith(".attention")
        assert event.kind is OperatorKind.MATMUL
    named = {m for event in case.events for m in event.modules}
    assert named == {op.module for op in case.artifact.operators}


# Correctness


def tensors(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every tensor of a graph, as it stands."""
    model = onnx.load(path, load_external_data=False)
    made = [name for node in model.graph.node for name in node.output if name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    whole = path.with_name(f"all-{path.name}")  # beside its weights
    onnx.save(model, whole)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(whole, options)
    return dict(zip(made, session.run(made, {"image": image}), strict=True))


def moments(values: np.ndarray) -> np.ndarray:
    """Zeros, which pad a layout, add nothing to these, and neither does the order."""
    x = values.astype(np.float64).ravel()
    return np.array([np.abs(x).sum(), x.sum(), (x**2).sum(), (np.abs(x) ** 3).sum()])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    scale = np.array([b[0], b[0], b[2], b[3]])
    return bool((np.abs(a - b) <= 2e-5 * scale + 1e-12).all())


class Exported:
    """The exported graph, and which of its operators compute a given tensor."""

    def __init__(self, case: Profiled) -> None:
        self.image = moments(case.image)
        self.operators = case.artifact.operators
        values = tensors(case.exported, case.image)
        self.moments = {name: moments(value) for name, value in values.items()}
        self.maker = {name: op for op in self.operators for name in op.outputs}

    def names(self, value: np.ndarray) -> set[str]:
        wanted = moments(value)
        found = {name for name, known in self.moments.items() if same(wanted, known)}
        return found | ({"image"} if same(wanted, self.image) else set())

    def origin(self, names: set[str]) -> Operator | None:
        """The first operator that makes any of these: it computes, those after it move."""
        return next((op for op in self.operators if set(op.outputs) & names), None)

    def between(self, reads: set[str], last: Operator) -> list[Operator]:
        """Operators from the tensors that a kernel reads to the one that it ends with."""
        found, pending = [last], [last]
        while pending:
            for name in pending.pop().inputs:
                maker = self.maker.get(name)
                if maker is not None and name not in reads and maker not in found:
                    found.append(maker)
                    pending.append(maker)
        return found


COMPUTING = {
    *("Conv", "Gemm", "MatMul", "Softmax", "LayerNormalization", "SkipLayerNormalization"),
    *("QuickGelu", "Add", "Mul", "ReduceMean", "Concat", "Resize", "FusedMatMul"),
}


@pytest.mark.parametrize(("model", "patches", "threads"), CASES[:2])
def test_kernels_are_counted_where_their_results_come_from(
    profiled, model: str, patches: str, threads: int
) -> None:
    case = profiled(model, patches, threads)
    graph = onnx.load(case.optimised, load_external_data=False).graph
    nodes = {n.name: n for n in graph.node}
    values = {"image": case.image, **tensors(case.optimised, case.image)}
    export = Exported(case)
    checked = 0
    for event in case.events:
        node = nodes[event.name]
        makes = export.names(values[node.output[0]])
        assert makes, f"{event.name} computes what the exported graph does not"
        if event.type not in COMPUTING:
            continue
        last = export.origin(makes)
        assert last is not None
        reads = {n for i in node.input if i in values for n in export.names(values[i])}
        region = {op.module for op in export.between(reads, last)}
        assert set(event.modules) == region, event.name
        checked += 1
    assert checked > 150


@pytest.mark.parametrize(("model", "patches", "threads"), CASES[:2])
def test_kernels_are_counted_first_where_their_weights_are(
    profiled, model: str, patches: str, threads: int
) -> None:
    case = profiled(model, patches, threads)
    owner: dict[str, str] = {}
    for op in case.artifact.operators:
        owner |= dict.fromkeys(op.inputs, op.module)
    exported = {
        t.name: (owner[t.name], moments(onnx.numpy_helper.to_array(t)))
        for t in onnx.load(case.exported).graph.initializer
        if t.name in owner and onnx.numpy_helper.to_array(t).size > 8
    }
    optimised = onnx.load(case.optimised).graph
    weights = {t.name: moments(onnx.numpy_helper.to_array(t)) for t in optimised.initializer}
    nodes = {n.name: n for n in optimised.node}
    checked = 0
    for event in case.events:
        if event.type not in {"Conv", "Gemm", "LayerNormalization", "SkipLayerNormalization"}:
            continue
        # The second input is the weight of all of these, but the third that of a skip.
        index = 2 if event.type.startswith("Skip") else 1
        found = weights[nodes[event.name].input[index]]
        (module,) = {m for m, known in exported.values() if same(found, known)}
        assert event.modules[0] == module, event.name
        checked += 1
    assert checked == 35 + 37 + 21  # convolutions, linear layers, LayerNorms


@pytest.mark.parametrize(("model", "patches", "threads"), CASES[:2])
def test_a_kernel_that_covers_several_modules_names_them(
    profiled, model: str, patches: str, threads: int
) -> None:
    case = profiled(model, patches, threads)
    fused = {(e.type, e.modules) for e in case.events if len(e.modules) > 1}
    skips = {e for e in fused if e[0] == "SkipLayerNormalization"}
    for _, modules in skips:
        block, last = modules[0].removesuffix(".norm"), modules[1].split(".")[3]
        assert modules == (f"{block}.norm", f"{block}.transformer.{last}.ffn")
    # What this engine fuses on processors with blocked convolutions.
    assert fused - skips <= {
        ("Conv", ("layer_1.0.project.conv", "layer_1.0")),
        ("Conv", ("layer_2.1.project.conv", "layer_2.1")),
        ("Conv", ("layer_2.2.project.conv", "layer_2.2")),
    }
    # An activation is two operators of one module.
    gelus = [e.modules for e in case.events if e.type == "QuickGelu"]
    assert len(gelus) == len(set(gelus)) == 34
    assert all(len(modules) == 1 and modules[0].endswith(".act") for modules in gelus)


@pytest.mark.parametrize(("model", "patches", "threads"), CASES[:2])
def test_kinds(profiled, model: str, patches: str, threads: int) -> None:
    case = profiled(model, patches, threads)
    kinds = {event.type: event.kind for event in case.events}
    assert {t for t, kind in kinds.items() if kind is OperatorKind.OTHER} <= {
        *("Add", "Mul", "ReduceMean", "Resize")
    }
    expected = {
        "Conv": OperatorKind.CONV,
        "Gemm": OperatorKind.MATMUL,
        "MatMul": OperatorKind.MATMUL,
        "Softmax": OperatorKind.SOFTMAX,
        "LayerNormalization": OperatorKind.LAYERNORM,
        "QuickGelu": OperatorKind.ACTIVATION,
        "Transpose": OperatorKind.DATA_MOVEMENT,
        "Reshape": OperatorKind.DATA_MOVEMENT,
    }
    assert {t: kinds[t] for t in expected} == expected


def test_maps_that_patches_do_not_divide_are_attributed(profiled) -> None:
    case = profiled("mobilevit_xxs", "4x2,2,2", 1, size="96")
    resizes = [e.modules for e in case.events if e.type == "Resize"]
    assert resizes == [("layer_5.1.unfold",), ("layer_5.1.fold",)]
    categories = {case.artifact.category(e.modules[0]) for e in case.events}
    assert categories == set(Category.ordered(()))


# A graph that was not rewritten, and profiles that are broken


@pytest.fixture
def plain(exported, tmp_path: Path) -> tuple[Artifact, Path]:
    """The profile of an engine that runs the exported graph as it is, in known times."""
    small = exported()
    (tmp_path / "optimised.onnx").write_bytes(small.path.read_bytes())
    entries = [{"cat": "Session", "name": "model_run", "dur": 1}]
    for run in range(4):
        for i, op in enumerate(small.artifact.operators):
            entry = {"cat": "Node", "name": f"{op.name}_kernel_time", "dur": 100 * run + i}
            entry |= {"ts": 10_000 * run + 10 * i, "tid": 42}
            entries += [entry, {**entry, "name": f"{op.name}_fence_before", "dur": 10**6}]
    path = tmp_path / "ort.json"
    path.write_text(json.dumps(entries))
    return small.artifact, path


def test_without_a_rewrite_every_node_is_its_own_module(plain: tuple[Artifact, Path]) -> None:
    artifact, path = plain
    events = ENGINE.read_profile(artifact, path, 2).events
    assert [e.name for e in events] == [op.name for op in artifact.operators]
    assert [e.modules for e in events] == [(op.module,) for op in artifact.operators]
    assert {e.placed_by for e in events} == {"name"}
    # The last runs count; those before them were warm-up.
    assert events[5].samples_ns == (205_000, 305_000)
    assert events[5].starts_ns == (20_050_000, 30_050_000)
    assert {e.track for e in events} == {"42"}


def test_what_was_computed_beforehand_is_not_counted(plain: tuple[Artifact, Path]) -> None:
    """The engine folds constants: a node reads what no node of its graph makes."""
    artifact, path = plain
    first, second = artifact.operators[:2]
    assert set(first.outputs) & set(second.inputs) and first.module != second.module
    graph = path.with_name("optimised.onnx")
    model = onnx.load(graph)
    del model.graph.node[0]
    onnx.save(model, graph)
    edited(path, lambda es: [e for e in es if e["name"] != f"{first.name}_kernel_time"])
    events = ENGINE.read_profile(artifact, path, 2).events
    assert [e.modules for e in events] == [(op.module,) for op in artifact.operators[1:]]


def edited(path: Path, edit: Callable[[list[dict[str, object]]], object]) -> None:
    entries = json.loads(path.read_text())
    result = edit(entries)
    path.write_text(json.dumps(entries if result is None else result))


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_text(""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "missing": lambda p: p.unlink(),
    "no text": lambda p: p.write_bytes(b"\xff\xfe\x00"),
    "no list": lambda p: p.write_text("5"),
    "null": lambda p: p.write_text("null"),
    "a list of numbers": lambda p: p.write_text("[1, 2]"),
    "an object": lambda p: p.write_text('{"a": 1}'),
    "deeply nested": lambda p: p.write_text("[" * 100_000),
    "no node": lambda p: edited(p, lambda es: [e for e in es if e["cat"] != "Node"]),
    "nothing": lambda p: p.write_text("[]"),
    "no duration": lambda p: edited(p, lambda es: es[1].pop("dur") and None),
    "a duration that is no number": lambda p: edited(p, lambda es: es[1].update(dur="x")),
    "no start": lambda p: edited(p, lambda es: es[1].pop("ts") and None),
    "no thread": lambda p: edited(p, lambda es: es[1].pop("tid") and None),
    "no name": lambda p: edited(p, lambda es: es[1].pop("name") and None),
    "a name that is no text": lambda p: edited(p, lambda es: es[1].update(name=[])),
    "an unknown node": lambda p: edited(p, lambda es: es[1].update(name="x_kernel_time")),
    "too few runs": lambda p: edited(p, lambda es: es[: len(es) // 2]),
    "graph missing": lambda p: p.with_name("optimised.onnx").unlink(),
    "graph empty": lambda p: p.with_name("optimised.onnx").write_bytes(b""),
    "graph truncated": lambda p: p.with_name("optimised.onnx").write_bytes(
        p.with_name("optimised.onnx").read_bytes()[:2000]
    ),
    "graph garbage": lambda p: p.with_name("optimised.onnx").write_bytes(b"\x08" * 99),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_profile_is_an_engine_error(plain: tuple[Artifact, Path], fault: str) -> None:
    artifact, path = plain
    BROKEN[fault](path)
    with pytest.raises(EngineError, match="The profile of ONNX Runtime cannot be used: it"):
        ENGINE.read_profile(artifact, path, 4)


def test_nodes_without_names_are_told_by_type() -> None:
    """The graph need not list those of several types in the order in which they run."""
    types = ("Mul", "HardSigmoid", "Mul", "Conv")
    nodes = [onnx.helper.make_node(kind, [], [f"t{i}"]) for i, kind in enumerate(types)]
    nodes[-1].name = "conv"
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    starts = {"HardSigmoid_7": 1, "Mul_8": 2, "conv": 3, "Mul_10": 4}
    onnxruntime_engine._name(graph, {name: [(at, 1, "0")] for name, at in starts.items()})
    assert [node.name for node in graph.node] == ["Mul_8", "HardSigmoid_7", "Mul_10", "conv"]


def test_a_name_that_stands_twice_is_an_engine_error(plain: tuple[Artifact, Path]) -> None:
    artifact, path = plain
    graph = path.with_name("optimised.onnx")
    model = onnx.load(graph)
    model.graph.node[3].name = model.graph.node[4].name
    onnx.save(model, graph)
    edited(path, lambda es: [e for e in es if artifact.operators[3].name not in str(e["name"])])
    with pytest.raises(EngineError, match="the same name twice"):
        ENGINE.read_profile(artifact, path, 1)


def test_a_node_that_stands_alone_stays_unplaced(plain: tuple[Artifact, Path]) -> None:
    artifact, path = plain
    graph = path.with_name("optimised.onnx")
    model = onnx.load(graph)
    model.graph.node.append(onnx.helper.make_node("Odd", [], ["nowhere"], "stranger"))
    onnx.save(model, graph)
    odd = {"cat": "Node", "name": "stranger_kernel_time", "dur": 7, "ts": 9, "tid": 1}
    edited(path, lambda es: es + [odd] * 4)
    events = ENGINE.read_profile(artifact, path, 2).events
    assert events[-1] == TraceEvent(
        "stranger", "Odd", OperatorKind.OTHER, (), "", (7000, 7000), (9000, 9000), "1"
    )
    assert all(event.modules for event in events[:-1])
