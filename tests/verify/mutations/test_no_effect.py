"""A fault that changes nothing is none: neither caught nor missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.pipeline.export import Builder
from tests.warm import Server

# One token: whatever its scores are, their softmax is 1.
NETWORK = """
import torch
from torch import nn


class OneToken(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)
        self.attention = Attention()

    def forward(self, image):
        token = self.conv(image).mean((2, 3))[:, None, None]
        return self.out(self.attention(token).flatten(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return ((q * 0.3) @ k.transpose(-1, -2)).softmax(-1) @ v


def make():
    torch.manual_seed(0)
    return OneToken().eval()


make.image_size, make.num_classes = (12, 12), 5
"""


@pytest.fixture(scope="module", params=["onnx", "executorch"])
def one_token(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_token")
    (folder / "net.py").write_text(NETWORK)
    path = folder / ("net.onnx" if request.param == "onnx" else "net.pte")
    Builder(models.make_spec(f"{folder}/net.py:make")).export(request.param, path)
    return path


def test_what_cannot_change_anything_is_not_missed(one_token: Path, warm: Server) -> None:
    done = warm.mvdeploy("verify", str(one_token), "--mutations", cwd=one_token.parent)
    print(done.stdout, done.stderr)
    assert 0
