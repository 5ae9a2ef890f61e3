"""Parity has to catch what exporters and engines have got wrong."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from mvdeploy.errors import CheckFailed, EngineError
from mvdeploy.precisions import fp32
from mvdeploy.records import Parity
from mvdeploy.tasks import Decision, classify
from mvdeploy.verify import inputs, parity
from mvdeploy.verify.reference import Yardstick

Mutate = Callable[[onnx.GraphProto], None]


def module_of(node: onnx.NodeProto) -> str:
    return next(p.value for p in node.metadata_props if p.key == "mvdeploy.module")


def node(graph: onnx.GraphProto, op_type: str, module: str, index: int = 0) -> onnx.NodeProto:
    return [n for n in graph.node if n.op_type == op_type and module_of(n) == module][index]


def change(graph: onnx.GraphProto, name: str, how: Callable[[np.ndarray], object]) -> None:
    """Change a constant."""
    (tensor,) = [t for t in graph.initializer if t.name == name]
    values = numpy_helper.to_array(tensor).copy()
    how(values)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def attribute(made: onnx.NodeProto, name: str, value: object) -> None:
    kept = [a for a in made.attribute if a.name != name]
    del made.attribute[:]
    made.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def drop_bias(name: str) -> Mutate:
    def mutate(graph: onnx.GraphProto) -> None:
        change(graph, name, lambda values: values.fill(0))

    mutate.__name__ = f"no_{name}"
    return mutate


def softmax_axis(graph: onnx.GraphProto) -> None:
    attribute(node(graph, "Softmax", "layer_4.1.transformer.1.attention"), "axis", 2)


def relu_for_silu(module: str) -> Mutate:
    def mutate(graph: onnx.GraphProto) -> None:
        product, sigmoid = node(graph, "Mul", module), node(graph, "Sigmoid", module)
        source = sigmoid.input[0]
        del product.input[:], product.attribute[:]
        product.input.append(source)
        product.op_type = "Relu"

    mutate.__name__ = f"relu_for_silu_in_{module}"
    return mutate


def attention_scale(graph: onnx.GraphProto) -> None:
    product = node(graph, "Mul", "layer_3.1.transformer.1.attention")
    constants = {t.name for t in graph.initializer}
    (name,) = [i for i in product.input if i in constants]
    # The constant may serve several layers; only one of them goes wrong.
    (tensor,) = [t for t in graph.initializer if t.name == name]
    larger = numpy_helper.from_array(np.float32(1.1) * numpy_helper.to_array(tensor), "larger")
    graph.initializer.append(larger)
    product.input[list(product.input).index(name)] = "larger"


def permuted(module: str, a: int, b: int) -> Mutate:
    """Swap two axes of the larger transposition of an unfold or fold."""

    def mutate(graph: onnx.GraphProto) -> None:
        found = [n for n in graph.node if n.op_type == "Transpose" and module_of(n) == module]
        (big,) = [n for n in found if len(n.attribute[0].ints) == 6]
        perm = list(big.attribute[0].ints)
        perm[a], perm[b] = perm[b], perm[a]
        attribute(big, "perm", perm)

    mutate.__name__ = f"axes_{a}_{b}_of_{module}"
    return mutate


def norm_eps(graph: onnx.GraphProto) -> None:
    attribute(node(graph, "LayerNormalization", "layer_5.1.norm"), "epsilon", 1e-1)


def resize_corners(graph: onnx.GraphProto) -> None:
    made = node(graph, "Resize", "layer_5.1.unfold")
    attribute(made, "coordinate_transformation_mode", "align_corners")


def concat_order(graph: onnx.GraphProto) -> None:
    made = node(graph, "Concat", "layer_4.1")
    made.input[0], made.input[1] = made.input[1], made.input[0]


def lost_residual(graph: onnx.GraphProto) -> None:
    made = node(graph, "Add", "layer_2.1")
    made.input[0] = made.input[1]


def shifted_pads(graph: onnx.GraphProto) -> None:
    attribute(node(graph, "Conv", "layer_4.0.depthwise.conv"), "pads", [0, 0, 2, 2])


MUTATIONS = [
    drop_bias("layer_2.0.project.conv.bias"),
    drop_bias("layer_4.1.transformer.2.attention.qkv.bias"),
    drop_bias("layer_5.1.transformer.0.ffn.fc2.bias"),
    drop_bias("layer_3.1.norm.bias"),
    drop_bias("classifier.fc.bias"),
    softmax_axis,
    relu_for_silu("conv_1.act"),
    relu_for_silu("layer_5.1.transformer.2.ffn.act"),
    attention_scale,
    permuted("layer_3.1.unfold", 1, 2),
    permuted("layer_3.1.unfold", 3, 4),
    permuted("layer_3.1.fold", 2, 4),
    norm_eps,
    resize_corners,
    concat_order,
    lost_residual,
    shifted_pads,
]


FEEDS = {name: {"image": x} for name, x in inputs.synthetic((1, 3, 96, 96)).items()}


@pytest.fixture
def check(exported, tmp_path: Path):
    """Return a function that checks the exported file after a change of its graph."""
    small = exported()

    def run(mutate: Mutate | None = None, **changes: object) -> Parity:
        model = onnx.load(small.path)
        if mutate is not None:
            mutate(model.graph)
            # Neither the file format nor the engine sees anything wrong with it.
            onnx.checker.check_model(model)
        path = tmp_path / "mutated.onnx"
        onnx.save(model, path)
        given = {"artifact": small.artifact, "network": small.network, "feeds": FEEDS, **changes}
        return parity.check(
            Yardstick(given["artifact"], given["network"], given["feeds"]),  # type: ignore[arg-type]
            given.get("path", path),  # type: ignore[arg-type]
            "onnxruntime",
        )

    return run


def test_an_honest_export_passes(check) -> None:
    found = check()
    assert found.passed
    parity.demand(found, "it")
    assert 0.2 < found.ratio < 4 and found.reference == "float64" and not found.losses
    assert found.output_spread > 0.3
    assert found.engine == f"onnxruntime {onnxruntime.__version__}"
    assert [i.name for i in found.inputs] == list(inputs.synthetic((1, 3, 4, 4)))


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
def test_a_fault_in_the_graph_is_caught(check, mutate: Mutate) -> None:
    found = check(mutate)
    assert not found.passed
    assert found.ratio > 10 * found.max_ratio
    with pytest.raises(CheckFailed, match=f"on the input '{found.worst.name}' the outputs differ"):
        parity.demand(found, "it")


@pytest.mark.parametrize("format_name", ["onnx", "pytorch"])
def test_the_figures_are_those_of_the_outputs(exported, format_name: str) -> None:
    small = exported(format_name)
    image = inputs.synthetic((1, 3, 96, 96))["noise"]
    with torch.inference_mode():
        exact = copy.deepcopy(small.network).double()
        wanted = exact(torch.from_numpy(image).double()).numpy()
    if format_name == "onnx":
        session = onnxruntime.InferenceSession(small.path)
        (got,) = session.run(None, {"image": image})
    else:
        got = torch.export.load(small.path).module()(torch.from_numpy(image)).detach().numpy()
    error = np.abs(wanted - got)
    (found,) = [i for i in small.parity.inputs if i.name == "noise"]
    assert found.max_abs == pytest.approx(error.max(), abs=2e-6)
    assert found.max_abs > 0
    assert found.cosine == pytest.approx(1, abs=1e-9)
    assert found.snr_db == pytest.approx(10 * np.log10((wanted**2).sum() / (error**2).sum()), abs=3)
    assert found.agrees


def test_the_threshold_is_the_threshold(check) -> None:
    (error,) = check().errors
    size = error.rounding * np.sqrt(1000) * 0.4

    def nudge(times: float) -> Mutate:
        def add(values: np.ndarray) -> None:
            values[7] += times * size

        return lambda graph: change(graph, "classifier.fc.bias", add)

    near, far = check(nudge(5)), check(nudge(12))
    assert 3 < near.ratio < 8 < far.ratio < 20
    assert near.passed and not far.passed


@pytest.mark.parametrize("scale", [0.005, 20.0])
def test_the_scale_of_the_outputs_does_not_matter(check, exported, scale: float) -> None:
    """Neither are loud outputs refused for their rounding, nor do quiet ones hide a fault."""
    scaled = copy.deepcopy(exported().network)
    for values in scaled.classifier.fc.parameters():
        values.data *= scale

    def sound(graph: onnx.GraphProto) -> None:
        for name in ("classifier.fc.weight", "classifier.fc.bias"):
            change(graph, name, lambda values: np.multiply(values, np.float32(scale), out=values))

    def wrong(graph: onnx.GraphProto) -> None:
        sound(graph)
        made = node(graph, "MatMul", "layer_5.1.transformer.0.ffn.fc2")
        change(graph, made.input[1], lambda values: np.multiply(values, 1.01, out=values))

    assert check(sound, network=scaled).passed
    found = check(wrong, network=scaled)
    assert not found.passed
    assert found.ratio > 100


@pytest.mark.parametrize("tied", [False, True])
def test_what_the_task_says_decides_too(check, monkeypatch: pytest.MonkeyPatch, tied: bool) -> None:
    given = []

    def other(wanted, got, rounded, spec) -> Decision:
        given.append((wanted["logits"], rounded["logits"]))
        return Decision(agrees=False, tied=tied)

    monkeypatch.setattr(classify, "compare", other)
    found = check()
    assert found.near and found.passed is tied
    # It is shown how far an export may be off, which is a multiple of what rounding costs.
    wanted, allowed = given[0]
    rounding = found.inputs[0].outputs[0].rounding_db
    shown = 20 * np.log10(np.std(wanted) / np.sqrt(np.mean((allowed - wanted) ** 2)))
    assert rounding - shown == pytest.approx(20 * np.log10(fp32.PRECISION.max_ratio), abs=0.5)


class Stubborn(nn.Module):
    """Has no kernel for double precision, as an operator of another library may."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.dtype is torch.float64:
            raise RuntimeError("no kernel for Double\nbut for others")
        return self.network(image)


def test_a_network_without_double_precision_is_held_to_a_bound(check, exported) -> None:
    network = Stubborn(exported().network).eval()
    found = check(network=network)
    assert found.passed
    assert (found.reference, found.not_exact) == ("float32", "no kernel for Double")
    assert found.max_ratio is None and found.errors == ()
    assert found.demand == "SNR 66 dB"
    assert not check(relu_for_silu("conv_1.act"), network=network).passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_caught(check, value: float) -> None:
    def spoil(values: np.ndarray) -> None:
        values[3] = value

    with pytest.raises(CheckFailed, match="values that are no finite numbers"):
        check(lambda graph: change(graph, "classifier.fc.bias", spoil))


def test_a_reference_that_gives_nan_is_caught(check, exported) -> None:
    broken = copy.deepcopy(exported().network)
    broken.classifier.fc.bias.data[0] = torch.nan
    with pytest.raises(CheckFailed, match="values that are no finite numbers"):
        check(network=broken)


def test_another_shape_is_caught(check, exported) -> None:
    other = copy.deepcopy(exported().network)
    other.classifier.fc = torch.nn.Linear(320, 999)
    with pytest.raises(
        CheckFailed, match=r"has the shape \(1, 1000\), the network's is \(1, 999\)"
    ):
        check(network=other)


def test_another_output_name_is_caught(check) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        graph.output[0].name = graph.node[-1].output[0] = "scores"

    with pytest.raises(CheckFailed, match=r"has no output 'logits' \(it has scores\)"):
        check(rename)


def test_a_network_that_ignores_its_input_cannot_be_judged(check, exported) -> None:
    blind = copy.deepcopy(exported().network)
    blind.classifier.fc.weight.data.zero_()

    def erase(graph: onnx.GraphProto) -> None:
        change(graph, "classifier.fc.weight", lambda values: values.fill(0))

    found = check(erase, network=blind)
    assert found.worst.max_abs == 0
    assert found.worst.snr_db is None
    assert not found.passed
    with pytest.raises(CheckFailed, match="cannot be judged: the outputs hardly depend"):
        parity.demand(found, "it")


def test_one_input_alone_proves_nothing(check) -> None:
    assert not check(feeds={"noise": FEEDS["noise"]}).passed


def test_an_engine_that_cannot_run_the_file_is_an_engine_error(
    check, exported, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported().path.read_bytes()[:1000])
    for path in (broken, tmp_path / "none.onnx"):
        with pytest.raises(EngineError, match=r"cannot (run|load)"):
            check(path=path)
    with pytest.raises(EngineError, match=r"cannot (run|load)"):
        check(feeds={n: {"image": x} for n, x in inputs.synthetic((1, 3, 64, 64)).items()})
    small = exported()
    other = dataclasses.replace(small.artifact.inputs[0], name="picture")
    with pytest.raises(EngineError, match=r"cannot (run|load)"):
        check(artifact=dataclasses.replace(small.artifact, inputs=(other,)))


@pytest.mark.parametrize("format_name", ["onnx", "pytorch"])
def test_torch_is_left_as_it_was(exported, format_name: str) -> None:
    small = exported(format_name)
    engine = "onnxruntime" if format_name == "onnx" else "pytorch"
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        noise = {"noise": FEEDS["noise"]}
        yardstick = Yardstick(small.artifact, small.network, noise)
        parity.check(yardstick, small.path, engine)
        assert torch.get_num_threads() == 2
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(threads)
