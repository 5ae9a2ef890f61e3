"""What becomes of each kind of network that docs/models.md lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import formats, models
from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.verify import Verifier

FILE = Path(__file__).with_name("networks.py")


def exported(name: str, format_name: str, folder: Path) -> Exported:
    path = folder / f"{name}{formats.suffix(format_name)}"
    return Builder(models.make_spec(f"{FILE}:{name}")).export(format_name, path)


def signature(done: Exported) -> list[tuple[str, tuple[int | str, ...], str]]:
    return [(out.name, out.shape, out.dtype) for out in done.artifact.outputs]


MAP = (1, 8, 16, 16)
RETURNS = {
    "plain": [("logits", (1, 5), "float32")],
    "as_dict": [
        ("logits", (1, 5), "float32"),
        ("maps_0", MAP, "float32"),
        ("maps_1", MAP, "float32"),
    ],
    "as_tuple": [("output_0", (1, 5), "float32"), ("output_1", MAP, "float32")],
    "as_dataclass": [("logits", (1, 5), "float32"), ("fmap", MAP, "float32")],
    "as_namedtuple": [("near", (1, 5), "float32"), ("far", MAP, "float32")],
    "as_map": [("output_0", MAP, "float32")],
    "one_class": [("output_0", (1, 1), "float32")],
    "squeezed": [("output_0", (1,), "float32")],
    "whole_numbers": [("best", (1,), "int64"), ("logits", (1, 5), "float32")],
    "grey": [("logits", (1, 5), "float32")],
    "text": [("logits", (1, 4), "float32")],
    "image_and_text": [("picture_mean", (1, 4), "float32"), ("words", (1, 4), "float32")],
    "masked": [("logits", (1, 5), "float32")],
}


@pytest.mark.parametrize("name", RETURNS)
def test_what_it_takes_and_returns(name: str, tmp_path: Path) -> None:
    done = exported(name, "onnx", tmp_path)
    assert signature(done) == RETURNS[name]
    assert done.parity is not None and done.parity.passed and done.parity.modules
    assert done.artifact.spec.task == (
        "classify" if len(RETURNS[name]) == 1 and RETURNS[name][0][0] == "logits" else "tensors"
    )


@pytest.mark.parametrize("format_name", ["executorch", "coreml", "pytorch"])
@pytest.mark.parametrize("name", ["image_and_text", "as_dict"])
def test_in_every_format(name: str, format_name: str, tmp_path: Path) -> None:
    done = exported(name, format_name, tmp_path)
    assert [name for name, *_ in signature(done)] == [name for name, *_ in RETURNS[name]]
    assert done.parity is not None and done.parity.passed
    assert Verifier(done.path).check().passed


def test_core_ml_takes_and_returns_what_its_arrays_can_be(tmp_path: Path) -> None:
    done = exported("whole_numbers", "coreml", tmp_path)
    assert [dtype for *_, dtype in signature(done)] == ["int32", "float32"]
    done = exported("text", "coreml", tmp_path)
    assert done.artifact.inputs[0].dtype == "int32"
    assert done.artifact.spec.inputs[0].dtype == "int64"


@pytest.mark.parametrize(
    ("name", "prepared"),
    [
        ("weight_norm", "weight of conv without WeightNorm"),
        ("old_weight_norm", "weight of conv without WeightNorm"),
        ("spectral_norm", "weight of conv without SpectralNorm"),
        ("old_spectral_norm", "weight of conv without SpectralNorm"),
        ("pruned", "weight of conv without L1Unstructured"),
        ("branches", "conv (Branches): 256 numbers, now 224"),
        ("synchronised", None),
        ("AsClass", None),
        ("instance", None),
        ("parallel", None),
        ("compiled", None),
    ],
)
def test_it_becomes_a_layer_with_its_batchnorm_folded(
    name: str, prepared: str | None, tmp_path: Path
) -> None:
    done = exported(name, "onnx", tmp_path)
    *first, folding = done.artifact.passes
    assert [line for report in first for line in report.changed] == ([prepared] if prepared else [])
    assert (folding.changed, folding.left) == (("bn into conv",), ())
    assert [op.type for op in done.artifact.operators if op.module == "conv"] == ["Conv"]
    assert Verifier(done.path).check().passed


@pytest.mark.parametrize("name", ["exported", "program"])
def test_an_exported_program_is_taken_as_it_is(name: str, tmp_path: Path) -> None:
    done = exported(name, "onnx", tmp_path)
    assert done.parity is not None and done.parity.passed
    assert done.artifact.outputs[0].shape == (1, 5)


REFUSED = {
    "scripted": "returned a TorchScript module, which cannot be traced again. Return the network",
    "halves": "computes in bfloat16 ('conv.weight'); what is exported computes in float32. Return",
    "doubles": "computes in float64 ('conv.weight')",
    "weightless": "has no weights: 'conv.weight' is on the device 'meta'.",
    "lazy": "has weights without a shape ('0.weight') until it has run.",
    "weights": "returned tensors by name, not an nn.Module.",
    "number": "returned an int, not an nn.Module.",
    "not_made": "is an int, not a function, a class or a network.",
    "needs_width": "cannot be called without arguments: it needs width.",
    "wrong_size": "The image_size of {} is '16,16'. Make it a number of pixels, or a pair of them",
    "other_size": "The image_size of {} is (3, 16, 16).",
    "nothing": "returns a NoneType without tensors.",
    "its_input": "returns 'image', which is the name of what it takes.",
    "undeclared": 'takes 2 inputs: x, mask. Give the factory an attribute inputs, as in {"image"',
    "noisy": "gives other outputs each time it runs: bernoulli in the network itself "
    "(networks.py, line ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(MvdeployError) as caught:
        exported(name, "onnx", tmp_path)
    message = REFUSED[name].replace("{}", f"{FILE}:{name}")
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


FAILS = {
    ("branching", "onnx"): "The network branches on values that it computes (networks.py, line ",
    (
        "branching",
        "executorch",
    ): "which ExecuTorch cannot export. Write the branch with torch.where",
    ("custom", "onnx"): "ONNX has no counterpart of the operator mvdeploy_tests.squash, which the "
    "network itself uses (networks.py, line ",
    (
        "custom",
        "executorch",
    ): "ExecuTorch has no counterpart of the operator mvdeploy_tests::squash",
    ("custom", "coreml"): "coremltools has no counterpart of the operator mvdeploy_tests::squash",
    ("fourier", "coreml"): "coremltools has no counterpart of the operator fft_rfft2, which the "
    "network itself uses (networks.py, line ",
}


@pytest.mark.parametrize(("name", "format_name"), FAILS)
def test_what_an_exporter_lacks_is_said_in_a_sentence(
    name: str, format_name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MvdeployError) as caught:
        exported(name, format_name, tmp_path)
    assert FAILS[name, format_name] in str(caught.value)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert "GraphModule" not in capfd.readouterr().err
