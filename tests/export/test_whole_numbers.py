"""Files of ONNX in whole numbers, of networks that are awkward in one way each."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from mvdeploy import export, models
from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder, Exported
from tests.quantization import networks

# torch tells of kernels of even sizes that are padded to the same size.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding:UserWarning")

FILE = Path(networks.__file__)


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ANSWERS", 2)


def exported(name: str, precision: str, folder: Path) -> Exported:
    builder = Builder(models.make_spec(f"{FILE}:{name}"), wish=calibration.Wish(2))
    return builder.export("onnx", folder / f"{name}.onnx", export.Options(precision))


def kinds(done: Exported) -> set[str]:
    return {node.op_type for node in onnx.load(done.path).graph.node}


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


def test_silu_is_one_operator_where_onnx_runtime_has_it(tmp_path: Path) -> None:
    assert {"QuickGelu", "QLinearConv"} <= kinds(exported("silus", "int8-fast", tmp_path))


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
    done = builder.export("executorch", tmp_path / "a.pte", export.Options(precision))
    assert done.parity is not None
    assert done.parity.passed
