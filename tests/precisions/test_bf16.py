"""Bfloat16 that an engine makes of a file in single precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mvdeploy import engines, formats, precisions
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.verify import verifiers

ENGINE = engines.get("openvino")

needs_bfloat16 = pytest.mark.skipif(
    bool(ENGINE.lacks("bf16", "")),
    reason="this processor does not compute in bfloat16",
)


def test_results_and_weights_are_rounded() -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()).eval()
    image = torch.rand(8, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = network.double()(image.double())
    with precisions.get("bf16").rounding(network.float()) as rounded:
        got = rounded(image)
        assert torch.equal(got, got.bfloat16().float())
        weight = rounded[0].weight
        assert torch.equal(weight, weight.bfloat16().float())
    assert not torch.equal(network[0].weight, network[0].weight.bfloat16().float())
    db = 10 * math.log10(float((exact**2).sum() / ((exact - got) ** 2).sum()))
    assert 40 < db < 65  # 8 bits


def test_half_precision_is_still_rounded_to_11_bits() -> None:
    with precisions.get("fp16").rounding(nn.Identity()) as rounded:
        got = rounded(torch.tensor([1 + 2**-10, 1 + 2**-13])) * 1
    assert got.tolist() == [1 + 2**-10, 1.0]


def test_it_is_verified_by_what_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINE, "lacks", lambda *_: "")
    assert formats.verifier("onnx", "bf16") == "openvino"
    assert formats.verifier("onnx", "fp32") == formats.verifier("onnx") == "onnxruntime"
    assert verifiers.options("openvino", "bf16") == {"inference_precision_hint": "bf16"}
    assert verifiers.options("onnxruntime", "bf16") == {}


def test_where_nothing_computes_it_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINE, "lacks", lambda *_: "the sun does not shine")
    said = r"Nothing here computes onnx programs in bf16 \(the sun does not shine\)"
    with pytest.raises(UsageError, match=said):
        formats.verifier("onnx", "bf16")
    with pytest.raises(UsageError, match="no engine has it"):
        formats.verifier("pytorch", "bf16")


@pytest.fixture
def file(exported):
    """Return an export whose attentions have nine tokens at least.

    Of four tokens, OpenVINO (2026.4.1) computes attention wrong in bfloat16, and such exports fail.
    """
    return exported(precision="bf16", patches="2,2,2", size="160")


@needs_bfloat16
def test_a_file_in_it_is_the_one_in_single_precision(file) -> None:
    assert file.artifact.precision == "bf16"
    assert formats.read_file(file.path).precision == "fp32"
    assert file.parity.engine.startswith("openvino")
    assert file.parity.passed
    assert 10 < file.parity.worst.snr_db < 60
    assert file.parity.modules


@needs_bfloat16
def test_a_fault_that_its_rounding_hides_is_found_in_the_file(file) -> None:
    results = Verifier(file.path).mutations({"LayerNorm eps × 100"})
    assert len(results) == 3
    for result in results:
        assert result.good
        assert result.parity is not None
        assert result.parity.engine.startswith("onnxruntime")
