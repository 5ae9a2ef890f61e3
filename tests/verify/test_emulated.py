"""What is wrong in a file of whole numbers is found, and its module named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mvdeploy import formats, models
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.quantization.emulation import Checkpoint
from mvdeploy.verify import emulated
from tests.quantization import networks

FILE = Path(networks.__file__)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    path = tmp_path_factory.mktemp("whole") / "a.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "ANSWERS", 2)
        spec = models.make_spec(f"{FILE}:chain")
        Builder(spec, wish=calibration.Wish(2)).export("onnx", path, formats.Options("int8"))
    return Verifier(path)


def _weight_scale(graph: onnx.GraphProto, module: str) -> str:
    return next(
        str(node.input[1]) for node in graph.node if node.input[0] == f"{module}.weight_int8"
    )


def _fed(graph: onnx.GraphProto, module: str, at: int) -> str:
    """Return what holds the scale (1) or zero point (2) that a convolution is fed with."""
    made = {out: node for node in graph.node for out in node.output}
    conv = next(
        node
        for node in graph.node
        if node.op_type == "Conv" and made[node.input[1]].input[0] == f"{module}.weight_int8"
    )
    return str(made[conv.input[0]].input[at])


FAULTS: dict[str, tuple[Callable[[onnx.GraphProto], str], Callable[[np.ndarray], np.ndarray]]] = {
    "scale of a weight": (lambda g: _weight_scale(g, "b"), lambda x: x * np.float32(1.1)),
    "one scale for all channels": (
        lambda g: _weight_scale(g, "b"),
        lambda x: np.full_like(x, x.max()),
    ),
    "swapped channels": (lambda g: "b.weight_int8", lambda x: x[[1, 0, *range(2, len(x))]]),
    "lost bias": (lambda g: "b.bias_int32", np.zeros_like),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is(verifier: Verifier, fault: str, tmp_path: Path) -> None:
    named, change = FAULTS[fault]
    model = onnx.load(verifier._path)
    name = named(model.graph)
    (held,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    held.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(held)), name))
    onnx.save(model, tmp_path / "a.onnx")
    parity = verifier._check(tmp_path / "a.onnx")
    assert not parity.passed
    assert parity.first_diverging is not None
    assert parity.first_diverging.module == "b"


@pytest.mark.parametrize("at", [1, 2])
def test_a_wrong_scale_or_zero_point_of_a_tensor_is_found(
    verifier: Verifier, at: int, tmp_path: Path
) -> None:
    model = onnx.load(verifier._path)
    graph = model.graph
    name = _fed(graph, "a", at)
    held = next(tensor for tensor in graph.initializer if tensor.name == name)
    value = numpy_helper.to_array(held)
    other = value * np.float32(1.2) if at == 1 else (value + 9).astype(value.dtype)
    graph.initializer.append(numpy_helper.from_array(other, "other"))
    graph.node[0].input[at] = "other"  # where the image is quantised
    onnx.save(model, tmp_path / "a.onnx")
    parity = verifier._check(tmp_path / "a.onnx")
    assert not parity.passed
    assert parity.first_diverging is not None
    assert parity.first_diverging.module == "a"


def test_the_file_itself_passes_wherever_it_lies(verifier: Verifier, tmp_path: Path) -> None:
    for name in ("a.onnx", "a.onnx.json"):
        (tmp_path / name).write_bytes((verifier._path.parent / name).read_bytes())
    moved = Verifier(tmp_path / "a.onnx", model=f"{FILE}:chain")
    assert moved.check(modules=True).passed


SCALE = 0.1
EXACT = np.linspace(0.0, 10.0, 64) + SCALE / 2
"""Each lies between two steps, as all that softmax makes of a flat image may."""


@pytest.mark.parametrize(
    ("steps", "diverges"), [(0, False), (1, False), (2, True), (-1, True), (float("nan"), True)]
)
@pytest.mark.parametrize("quantised", [True, False])
def test_what_lies_between_two_steps_may_be_rounded_either_way(
    steps: float, diverges: bool, quantised: bool
) -> None:
    point = Checkpoint("t", "m", quantised, (64,), "n", SCALE)
    wanted = EXACT - SCALE / 2
    found = emulated._compared(point, wanted + steps * SCALE, wanted, EXACT, wanted)
    assert found.diverges is (diverges or (not quantised and steps != 0))
