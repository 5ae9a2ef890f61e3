"""Engines that add up one number after another lose digits on flat images, and are right."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from mvdeploy import formats, models
from mvdeploy.models.preprocess import load_images, sample_photograph
from mvdeploy.pipeline.export import Builder
from mvdeploy.verify import inputs, parity
from mvdeploy.verify.reference import Yardstick

FACTORY = """
import torch
from torch import nn

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Head())

make.image_size = 96
"""


@pytest.mark.parametrize("format_name", ["onnx", "executorch"])
def test_the_mean_of_a_large_map_is_told_and_accepted(tmp_path: Path, format_name: str) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    builder = Builder(models.make_spec(f"{tmp_path / 'net.py'}:make"))
    path = tmp_path / f"net{formats.suffix(format_name)}"
    found = builder.export(format_name, path)
    assert found.parity is not None and found.parity.passed
    assert found.parity.ratio is not None and found.parity.max_ratio is not None
    assert found.parity.ratio > found.parity.max_ratio
    assert "with sums one after another" in found.parity.demand
    (loss, *_) = found.parity.losses
    assert loss.module == "2" and loss.input in ("black", "white")
    assert "mean" in loss.operator.lower()

    # A fault that is fainter than the digits that are lost on flat images shows on the others.
    other = copy.deepcopy(builder.network)
    with torch.no_grad():
        other[2].fc.weight *= 1.0005  # type: ignore[index, union-attr, operator]
    spec, rule = found.artifact.spec, found.artifact.preprocessing
    photograph = load_images(sample_photograph(), spec.inputs, rule)
    feeds = inputs.feeds(spec.inputs, rule, photograph)
    yardstick = Yardstick(found.artifact, other, feeds)
    assert not parity.check(yardstick, path, formats.verifier(format_name)).passed
