"""A weight that is another is found bit for bit, also where the file's precision would hide it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import formats, models
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.verify import Verifier

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, scaled):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.scale = nn.Parameter(1 + torch.rand(8, 1, 1)) if scaled else None
        self.middle = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, 6)

    def forward(self, x):
        x = self.conv(x)
        x = x if self.scale is None else self.scale * x
        return self.fc(self.middle(x.relu()).mean((2, 3)))

def network():
    return Net(False)

def scaled():
    return Net(True)
"""


@pytest.fixture(scope="module", params=[("network", "network"), ("scaled", "export")])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """In fp16; coremltools folds the scale into the convolution, so that its weights are others."""
    factory, compared = request.param
    folder = tmp_path_factory.mktemp(factory)
    (folder / "net.py").write_text(NETWORK)
    spec = models.make_spec(f"{folder / 'net.py'}:{factory}", image_size=(32, 32))
    exported = Builder(spec).export("coreml", folder / "net.mlpackage")
    assert exported.parity is not None and exported.parity.passed
    assert (exported.artifact.precision, exported.parity.weights) == ("fp16", compared)
    return exported


def test_a_fault_below_rounding_is_caught_and_named(package: Exported) -> None:
    results = Verifier(package.path).mutations(["weight × 1.01"])
    assert len(results) == 3  # the one that was folded has no module in the file
    assert [(r.module, r.named) for r in results if not r.good] == []


def test_in_onnx_as_well(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    spec = models.make_spec(f"{tmp_path / 'net.py'}:network", image_size=(32, 32))
    half = formats.options("onnx", precision="fp16")
    exported = Builder(spec).export("onnx", tmp_path / "net.onnx", half)
    assert exported.parity is not None and exported.parity.weights == "network"
    results = Verifier(exported.path).mutations(["weight × 1.01"])
    assert [(r.module, r.named) for r in results] == [(m, m) for m in ("conv", "middle", "fc")]
    assert all(r.good for r in results)
