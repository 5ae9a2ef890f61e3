"""Files of ONNX in whole numbers, of networks that are awkward in one way each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from mvdeploy import formats, models
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.formats.onnx import Options
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder, Exported
from tests.quantization import networks

# torch tells of kernels of even sizes that are padded to the same size.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding:UserWarning")

FILE = Path(networks.__file__)


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ANSWERS", 2)


def exported(
    name: str,
    precision: str,
    folder: Path,
    *,
    full_range: bool = False,
    operators: str | None = None,
) -> Exported:
    builder = Builder(models.make_spec(f"{FILE}:{name}"), wish=calibration.Wish(2))
    options = formats.Options(precision, own=Options(full_range=full_range, operators=operators))
    return builder.export("onnx", folder / f"{name}.onnx", options)


def kinds(done: Exported) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(done.path).graph.node)


def most(done: Exported) -> dict[str, int]:
    """Return the largest number of the weights of convolutions."""
    graph = onnx.load(done.path).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = (n for n in graph.node if n.op_type == "QLinearConv")
    return {n.name: int(abs(held[n.input[3]].astype(int)).max()) for n in convolutions}


LAYOUTS = (
    *("strided", "dilated", "grouped", "depthwise", "asymmetric", "same", "wide_kernel"),
    *("strided_pointwise", "padded_pointwise", "without_bias", "clamped", "also_returned"),
    *("joined", "joined_rows", "joined_twice", "added", "added_twice", "scaled_channels"),
    *("hardswish", "silus", "gated", "linear_3d", "linear_4d", "only_linear", "convolution_1d"),
    *("ends_in_convolution", "ends_clamped", "zero_channel", "dead", "huge", "tiny", "boolean"),
    *(
        "transposed",
        "no_image",
        "tied",
        "called_twice",
        "odd_names",
        "batched",
        "both_read",
        "pooled",
        "moved",
        "class_token",
        "clamped_and_joined",
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    # One of the two for each: they have most of the way in common.
    [(name, ("int8", "int8-fast")[at % 2]) for at, name in enumerate(LAYOUTS)],
)
def test_it_computes_what_pytorch_does(name: str, precision: str, tmp_path: Path) -> None:
    done = exported(name, precision, tmp_path)
    assert done.parity is not None
    assert done.parity.passed
    assert not [point for point in done.parity.modules if point.diverges]


def test_one_weight_of_two_operators_is_there_for_each(tmp_path: Path) -> None:
    graph = onnx.load(exported("called_twice", "int8", tmp_path).path).graph
    read = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    made = {node.output[0]: node.input[0] for node in graph.node}
    assert len({made[name] for name in read}) == len(read) == 3


def test_convolutions_of_one_dimension_stay_pairs(tmp_path: Path) -> None:
    assert "Conv" in kinds(exported("convolution_1d", "int8-fast", tmp_path))


def test_silu_stays_in_whole_numbers(tmp_path: Path) -> None:
    found = kinds(exported("silus", "int8-fast", tmp_path))
    assert found["QLinearConv"] == 3
    assert found["QLinearSigmoid"] == found["QLinearMul"] == 2
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1  # the input and the output


def test_clamps_cost_nothing_where_the_scale_is_theirs(tmp_path: Path) -> None:
    found = kinds(exported("inverted", "int8-fast", tmp_path))
    assert found["QLinearConv"] == 4
    assert found["QLinearAdd"] == 1
    assert not {"Conv", "Clip", "Add"} & found.keys()


def test_clamps_stay_where_the_scale_reaches_further(tmp_path: Path) -> None:
    done = exported("clamped_and_joined", "int8-fast", tmp_path)
    graph = onnx.load(done.path).graph
    made = {node.output[0]: node for node in graph.node}
    clamps = [node for node in graph.node if node.op_type == "Clip"]
    assert [made[clamp.input[0]].op_type for clamp in clamps] == ["QLinearConv"]
    assert kinds(done)["QLinearConcat"] == 1


def test_residuals_of_linear_layers_stay_floats(tmp_path: Path) -> None:
    found = kinds(exported("linear_residual", "int8-fast", tmp_path))
    assert found["MatMulIntegerToFloat"] == 3
    assert found["QLinearSigmoid"] == found["QLinearMul"] == 1
    assert not found["QLinearAdd"]


def test_weights_have_7_bits_unless_8_are_asked_for(tmp_path: Path) -> None:
    usual = exported("inverted", "int8-fast", tmp_path / "usual")
    full = exported("inverted", "int8-fast", tmp_path / "full", full_range=True)
    assert set(most(usual).values()) == {63}
    assert set(most(full).values()) == {127}
    assert usual.artifact.quantized is not None
    assert full.artifact.quantized is not None
    assert usual.artifact.quantized.narrow == ("pointwise", "convolution")
    assert full.artifact.quantized.narrow == ()
    for done in (usual, full):
        again = formats.options_of(done.artifact)
        assert again.own.full_range is (done is full)
        assert ("full-range" in formats.marks("onnx", again)) is (done is full)


def test_pairs_are_written_as_operators_of_onnx_runtime(tmp_path: Path) -> None:
    """The same places in whole numbers; convolutions with 7 bits, which are right everywhere."""
    pairs = exported("inverted", "int8", tmp_path / "pairs")
    own = exported("inverted", "int8", tmp_path / "own", operators="onnxruntime")
    assert not kinds(pairs)["QLinearConv"]
    assert kinds(own)["QLinearConv"] == kinds(pairs)["Conv"] > 1
    assert set(most(own).values()) == {63}
    assert own.parity is not None
    assert own.parity.passed
    assert (pairs.artifact.backend, own.artifact.backend) == ("", "onnxruntime")
    for done, marks in ((pairs, ("int8",)), (own, ("int8", "onnxruntime"))):
        assert formats.marks("onnx", formats.options_of(done.artifact)) == marks


def test_whole_numbers_for_any_engine(tmp_path: Path) -> None:
    done = exported("linear_3d", "int8-fast", tmp_path, operators="standard")
    assert {node.domain for node in onnx.load(done.path).graph.node} == {""}
    assert kinds(done)["DequantizeLinear"] > 1
    assert done.parity is not None
    assert done.parity.passed
    assert formats.marks("onnx", formats.options_of(done.artifact)) == ("int8-fast", "standard")
    with pytest.raises(UsageError, match="with operators of ONNX Runtime's own alone"):
        exported("linear_3d", "int8-dynamic", tmp_path, operators="standard")


def test_other_precisions_have_no_range_to_choose() -> None:
    asked = formats.Options("int8", own=Options(full_range=True))
    assert formats.marks("onnx", asked) == ("int8",)
    target = formats.target("onnx", asked)
    assert target is not None
    assert target.narrow == ()


@pytest.mark.parametrize("precision", ["int8", "int8-fast", "int8-dynamic"])
def test_nothing_to_quantise_is_said(precision: str, tmp_path: Path) -> None:
    with pytest.raises(MvdeployError) as caught:
        exported("rounded_only", precision, tmp_path)
    assert caught.value.exit_code == 2
    assert "Nothing in the network can be computed in whole numbers." in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [("joined", "int8"), ("added", "int8-fast"), ("dead", "int8-fast")]
)
def test_xnnpack_takes_the_scales(name: str, precision: str, tmp_path: Path) -> None:
    builder = Builder(models.make_spec(f"{FILE}:{name}"), wish=calibration.Wish(2))
    done = builder.export("executorch", tmp_path / "a.pte", formats.Options(precision))
    assert done.parity is not None
    assert done.parity.passed
