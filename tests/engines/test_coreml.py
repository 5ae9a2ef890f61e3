from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.engines import SessionRequest, coreml
from mvdeploy.engines.coreml import compute_plan
from mvdeploy.engines.coreml.compute_plan import Plan, PlannedOperator, Unit
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, Level, Operator, OperatorKind, TimeKind
from tests.apple import stand_in
from tests.saved_runs import bare_artifact

ROOT = Path(__file__).parents[2]

# Importing coremltools warns of what its own dependencies do.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def artifact() -> Artifact:
    """Knows where two of three operators came from."""
    operators = (
        Operator("conv2d", "conv", "stem.conv", ("image",), ("conv2d",)),
        Operator("logits", "linear", "head", ("mean",), ("logits",)),
    )
    return bare_artifact("net.mlpackage", "coreml", operators)


def planned(output: str, kind: str, unit: Unit, weight: float | None) -> PlannedOperator:
    return PlannedOperator(output, kind, unit, (unit, Unit.CPU), weight)


def plan(**fields) -> Plan:
    made = Plan(
        "all",
        (
            planned("conv2d", "ios17.conv", Unit.ANE, 0.5),
            planned("mean", "ios17.reduce_mean", Unit.CPU, 0.3),
            planned("logits", "linear", Unit.ANE, 0.2),
        ),
        (900, 1000, 2000),
    )
    return dataclasses.replace(made, **fields)


def test_each_operator_has_its_share_of_each_inference(artifact: Artifact) -> None:
    times = compute_plan.operator_times(artifact, plan(), 2)
    assert [(e.name, e.samples_ns) for e in times.events] == [
        ("conv2d", (500, 1000)),
        ("mean", (300, 600)),
        ("logits", (200, 400)),
    ]
    assert [e.modules for e in times.events] == [("stem.conv",), (), ("head",)]
    assert [e.placed_by for e in times.events] == ["output", "", "output"]
    assert [e.kind for e in times.events] == [
        OperatorKind.CONV,
        OperatorKind.OTHER,
        OperatorKind.MATMUL,
    ]
    assert coreml.TIME_KIND is TimeKind.ESTIMATED


def test_the_findings_say_that_times_are_estimated_and_where_operators_run(artifact) -> None:
    found = {f.code: f for f in compute_plan.operator_times(artifact, plan(), 1).findings}
    assert set(found) == {"operator_times_estimated", "compute_plan"}
    assert {f.level for f in found.values()} == {Level.NOTE}
    assert found["compute_plan"].values == {
        "compute_units": "all",
        "ane_operators": 2,
        "ane_percent": pytest.approx(70),
        "gpu_operators": 0,
        "gpu_percent": 0,
        "cpu_operators": 1,
        "cpu_percent": pytest.approx(30),
        "none_operators": 0,
        "none_percent": 0,
    }


def test_operators_without_a_cost_are_told(artifact: Artifact) -> None:
    some = plan(operators=(*plan().operators, planned("cast", "cast", Unit.NONE, None)))
    times = compute_plan.operator_times(artifact, some, 3)
    assert times.events[-1].samples_ns == (0, 0, 0)
    assert times.findings[-1].code == "operators_without_cost"
    assert times.findings[-1].values == {"count": 1, "of": 4}


@given(
    st.lists(st.floats(0, 1) | st.none(), min_size=1, max_size=20),
    st.lists(st.integers(1, 10**9), min_size=1, max_size=5),
)
def test_operators_never_take_longer_than_the_whole(weights, samples) -> None:
    operators = tuple(planned(f"o{i}", "silu", Unit.GPU, w) for i, w in enumerate(weights))
    made = Plan("all", operators, tuple(samples))
    empty = type("Artifact", (), {"operators": ()})
    events = compute_plan.operator_times(empty, made, len(samples)).events
    for place, whole in enumerate(samples):
        assert sum(event.samples_ns[place] for event in events) <= whole + len(events)
    shares = compute_plan.placement(made)
    assert sum(part.operators for part in shares) == len(weights)
    assert sum(part.cost for part in shares) == pytest.approx(1 if any(weights) else 0)


@pytest.mark.parametrize("kind", ["conv", "ios15.conv", "ios18.conv"])
def test_the_opset_makes_no_other_kind(artifact: Artifact, kind: str) -> None:
    made = plan(operators=(planned("conv2d", kind, Unit.ANE, 1.0),))
    (event,) = compute_plan.operator_times(artifact, made, 1).events
    assert (event.kind, event.type) == (OperatorKind.CONV, kind)


def test_a_plan_is_kept_and_read(artifact: Artifact, tmp_path: Path) -> None:
    path = compute_plan.save(plan(), tmp_path)
    assert path.name == compute_plan.FILE and compute_plan.load(path) == plan()
    assert coreml.read_profile(artifact, path, 3) == compute_plan.operator_times(
        artifact, plan(), 3
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.pop("operators"), "cannot be read"),
        (lambda body: body.update(record="Job"), "cannot be read"),
        (lambda body: body["operators"][0].update(weight=-0.1), "a cost that is no share"),
        (lambda body: body["operators"][0].update(preferred="npu"), "cannot be read"),
        (lambda body: body.update(operators=body["operators"][:0]), "estimated no operator's cost"),
        (lambda body: body.update(samples_ns=[1]), "has 1 inferences, not 2"),
    ],
)
def test_a_plan_that_cannot_be_used(artifact, tmp_path: Path, change, message: str) -> None:
    path = compute_plan.save(plan(), tmp_path)
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(EngineError, match=message) as caught:
        coreml.read_profile(artifact, path, 2)
    assert "--no-breakdown" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "[1, 2", "\0", "[" * 100_000])
def test_a_broken_plan(artifact: Artifact, tmp_path: Path, text: str) -> None:
    path = tmp_path / compute_plan.FILE
    path.write_text(text)
    with pytest.raises(EngineError, match="compute plan of Core ML cannot be used"):
        coreml.read_profile(artifact, path, 1)
    with pytest.raises(EngineError, match="cannot be read"):
        coreml.read_profile(artifact, tmp_path / "missing", 1)


@pytest.mark.parametrize("program", [None, "functions"])
def test_a_plan_of_something_else_is_refused(program) -> None:
    class Structure:
        pass

    structure = Structure()
    structure.program = None if program is None else type("P", (), {"functions": {}})
    with pytest.raises(EngineError, match="holds no ML program"):
        compute_plan.read(type("P", (), {"model_structure": structure}), "all", ())


def test_without_core_ml_a_session_says_what_it_takes(tmp_path: Path) -> None:
    for ask in (
        lambda: coreml.open_session(SessionRequest(tmp_path, {})),
        lambda: coreml.read_tensors(SessionRequest(tmp_path, {}), ("logits",)),
    ):
        with pytest.raises(EngineError, match="no native module here") as caught:
            ask()
        assert "Use a Mac" in caught.value.remedy


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("17.5.1", (17, 5, 1)), ("17", (17,)), ("", ()), ("17.beta.2", (17,)), ("x", ())],
)
def test_versions(version: str, numbers: tuple[int, ...]) -> None:
    assert coreml.version_numbers(version) == numbers


# coremltools' own benchmarking code, the engine's sessions and the stand-ins, in one process of
# their own, as the native module has to be there before coremltools is imported.
SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.apple import stand_in
package, tensor, folder = map(Path, sys.argv[2:5])
stand_in.install(str(folder))
import numpy as np
import coremltools
from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker
from coremltools.models.ml_program.experimental import remote_device as remote
from mvdeploy.engines.coreml import compute_plan
from mvdeploy.engines import SessionRequest, coreml
coreml.start()
inputs = {"image": np.load(tensor)}
said = {}

units = {"compute_units": "cpu_and_ne"}
session = coreml.open_session(SessionRequest(package, inputs, profile_to=folder, options=units))
session.infer(); session.infer()
said["outputs"] = {name: value.tolist() for name, value in session.outputs().items()}
session.feed({"image": inputs["image"][:, :, ::-1] * 0})  # strides that are not C order
session.infer()
said["fed"] = session.outputs()["logits"].tolist()
said["durations"] = session.durations_ns
said["profile"] = str(session.end_profile())
session.close()
plain = coreml.open_session(SessionRequest(package, inputs))
said["no profile"] = plain.end_profile()
said["inner"] = sorted(coreml.read_tensors(SessionRequest(package, inputs), ("logits", "silu")))

async def benchmark(device):
    model = coremltools.models.MLModel(
        str(package), skip_model_load=True, compute_units=coremltools.ComputeUnit.CPU_AND_NE
    )
    made = MLModelBenchmarker(model, device)
    load = await made.benchmark_load(2)
    predict = await made.benchmark_predict(dict(inputs), 3, warmup=True)
    operators = await made.benchmark_operation_execution(dict(inputs), 2)
    found = {}
    for info in operators:
        if info.compute_device_usage is None:
            continue
        unit = compute_plan._unit(info.compute_device_usage.preferred_compute_device)
        found[info.spec.outputs[0].name] = (str(unit), info.measurement.samples)
    await made._loaded_model.unload()
    return {"load": load.samples, "predict": predict.samples, "operators": found}

said["local"] = asyncio.run(benchmark(None))

async def on_phone():
    device, = remote.Device.get_connected_devices(remote.DeviceType.IPHONE)
    work = folder / "work"
    work.mkdir()
    credentials = remote.AppSigningCredentials(development_team=stand_in.TEAM)
    device = await device.prepare_for_model_debugging(credentials, work)
    try:
        return await benchmark(device)
    finally:
        device.session.stop()

said["phone"] = asyncio.run(on_phone())
print("SAID" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("coreml")
    package = stand_in.write_package(folder / "net.mlpackage")
    tensor = stand_in.write_input(folder / "image.npy")
    mac = stand_in.StandIn(folder / "mac")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(package), str(tensor), str(mac.folder)],
        env=mac.environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "SAID" in done.stdout, done.stderr[-3000:]
    return {"tensor": tensor, **json.loads(done.stdout.rpartition("SAID")[2])}


def test_a_session_computes_what_core_ml_does(said: dict) -> None:
    wanted = stand_in.expected(said["tensor"])
    np.testing.assert_array_equal(np.array(said["outputs"]["logits"], np.float32), wanted)
    np.testing.assert_array_equal(said["fed"], np.arange(5, dtype=np.float32).reshape(1, 5))
    assert len(said["durations"]) == 3 and min(said["durations"]) > 0


def test_a_session_leaves_a_plan_only_when_asked(said: dict, artifact: Artifact) -> None:
    assert said["no profile"] is None
    kept = compute_plan.load(Path(said["profile"]))
    assert kept.compute_units == "cpu_and_ne" and kept.samples_ns == tuple(said["durations"])
    times = coreml.read_profile(artifact, Path(said["profile"]), 2)
    assert [event.name for event in times.events] == list(stand_in.OUTPUTS)
    assert [bool(event.modules) for event in times.events] == [True, False, False, True]


def test_core_ml_shows_no_inner_tensors(said: dict) -> None:
    assert said["inner"] == ["logits"]


@pytest.mark.parametrize("where", ["local", "phone"])
def test_coremltools_own_benchmark_gives_the_same_placement_and_shares(said, where: str) -> None:
    own, ours = said[where], compute_plan.load(Path(said["profile"]))
    assert len(own["load"]) == 2 and len(own["predict"]) == 3 and min(own["predict"]) > 0
    assert set(own["operators"]) == {op.output for op in ours.operators}
    whole = [sum(times) for times in zip(*(t for _, t in own["operators"].values()), strict=True)]
    for op in ours.operators:
        unit, times = own["operators"][op.output]
        assert unit == op.preferred
        assert np.divide(times, whole) == pytest.approx(op.weight)
