"""Core ML packages in whole numbers, of networks that are awkward in one way each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.export.graph_signature import InputKind

from mvdeploy import formats, models
from mvdeploy.errors import MvdeployError
from mvdeploy.formats import coreml
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.quiet import quiet
from mvdeploy.records.spec import parse_image_size
from mvdeploy.verify import mil
from tests.quantization import networks

with quiet():
    from mvdeploy.formats.coreml import app_form

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

FILE = Path(networks.__file__)


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ANSWERS", 2)


def exported(name: str, folder: Path, *keep: str, **own: object) -> Exported:
    builder = Builder(models.make_spec(f"{FILE}:{name}"), wish=calibration.Wish(2))
    options = formats.options("coreml", own, precision="int8-fast", keep_float=keep)
    return builder.export("coreml", folder / "a.mlpackage", options)


LAYOUTS = (
    *("depthwise", "clamped", "added", "hardswish", "silus", "linear_3d", "transposed"),
    *("called_twice", "batched", "zero_channel", "odd_names", "attention"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_it_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    done = exported(name, tmp_path)
    assert done.parity is not None
    assert done.parity.passed
    assert done.parity.weights == "network"
    assert not [point for point in done.parity.modules if point.diverges]


def test_numbers_are_signed_but_where_nothing_is_negative(tmp_path: Path) -> None:
    done = exported("clamped", tmp_path)
    operations = mil.operations(done.path)
    made = {op.inputs[0].name: op for op in operations if op.type == "quantize"}
    kinds = {name: op.outputs[0].dtype for name, op in made.items()}
    assert kinds.pop("image_to_fp16") == "uint8"
    clamped = {op.name: op.type for op in operations if op.type in ("relu6", "clip")}
    assert {clamped[name]: kinds[name] for name in clamped} == {"relu6": "uint8", "clip": "int8"}
    numbers = [op for op in operations if op.type in ("quantize", "dequantize")]
    assert not any("zero_point" in op.attributes for op in numbers)


def test_an_activation_goes_with_its_convolution(tmp_path: Path) -> None:
    operations = mil.operations(exported("silus_and_linear", tmp_path).path)
    made = {op.name: op.type for op in operations}
    sources = [made[op.inputs[0].name] for op in operations if op.type == "quantize"]
    assert "silu" in sources
    assert "conv" not in sources
    # What the network returns is what the last layer computes.
    assert made[operations[-1].inputs[0].name] == "linear"


def test_scales_are_those_of_the_manifest(tmp_path: Path) -> None:
    done = exported("silus", tmp_path)
    assert done.artifact.quantized is not None
    said = Counter(scale.scale for scale in done.artifact.quantized.scales.values())
    numbers = [op for op in mil.operations(done.path) if op.type == "quantize"]
    assert Counter(op.attributes["scale"] for op in numbers) == said


def test_what_is_kept_stays_in_half_precision(tmp_path: Path) -> None:
    whole = Counter(op.type for op in exported("silus", tmp_path).artifact.operators)
    kept = Counter(op.type for op in exported("silus", tmp_path, "a").artifact.operators)
    assert kept["constexpr_affine_dequantize"] == whole["constexpr_affine_dequantize"] - 1


@pytest.mark.parametrize(
    ("name", "keep", "own", "said"),
    [
        ("silus", ("*",), {}, "Nothing in the network can be computed in whole numbers."),
        ("silus", (), {"deployment_target": "iOS16"}, "iOS16 has no programs in int8-fast"),
        ("huge", (), {}, "and half precision ends at 65504."),
    ],
)
def test_it_is_refused_in_a_sentence(
    name: str, keep: tuple[str, ...], own: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MvdeployError, match=said) as caught:
        exported(name, tmp_path, *keep, **own)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_app_gets_the_same_whole_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        models,
        "preprocessing",
        lambda spec, plain=models.preprocessing: dataclasses.replace(
            plain(spec), std=(0.4, 0.5, 0.6), mean=(0.5, 0.5, 0.5)
        ),
    )
    labels = tuple(f"class {i}" for i in range(10))
    size = parse_image_size("16")
    spec = models.make_spec("yardstick", image_size=size, num_classes=10)
    builder = Builder(spec, wish=calibration.Wish(2))
    options = formats.Options("int8-fast", own=coreml.Options(image_input=True, labels=labels))
    done = builder.export("coreml", tmp_path / "a.mlpackage", options)
    assert done.parity is not None and done.twin is not None
    assert done.parity.passed
    assert done.artifact.quantized is not None and done.twin.artifact.quantized is not None
    assert done.artifact.quantized.scales == done.twin.artifact.quantized.scales
    assert any(op.type == "softmax" and op.module == "" for op in done.artifact.operators)


def test_a_program_is_given_what_an_app_wants() -> None:
    network = networks.FACTORIES["silus"]().eval()
    image = torch.rand(1, 3, 16, 16)
    program = torch.export.export(network, (image,)).run_decompositions({})
    usual = models.preprocessing(models.make_spec("yardstick"))
    rule = dataclasses.replace(usual, std=(0.4, 0.5, 0.6))
    made = app_form.of(program, rule, classify=True)
    with torch.inference_mode():
        wanted = network(image / torch.tensor(rule.std).reshape(1, 3, 1, 1)).softmax(-1)
        assert torch.allclose(made.module()(image), wanted, atol=1e-6)
    kinds = [spec.kind for spec in program.graph_signature.input_specs]
    assert kinds.count(InputKind.BUFFER) == 0  # the program that was given stays as it is
    assert app_form.of(program, None, classify=False) is program
