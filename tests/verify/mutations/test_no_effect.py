"""A fault that changes nothing is none: neither caught nor missed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto

from mvdeploy import models
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.verify.mutations import onnx
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


@pytest.fixture(scope="module")
def one_token(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the network as a file with a suffix."""
    folder = tmp_path_factory.mktemp("one_token")
    (folder / "net.py").write_text(NETWORK)

    @functools.cache
    def make(suffix: str) -> Path:
        path = folder / f"net{suffix}"
        format_name = {".onnx": "onnx", ".pte": "executorch"}[suffix]
        Builder(models.make_spec(f"{folder}/net.py:make")).export(format_name, path)
        return path

    return make


def test_what_cannot_change_anything_is_not_missed(
    one_token: Callable[[str], Path], warm: Server
) -> None:
    idle = ["softmax axis", "attention scale × 1.1"]
    path = one_token(".onnx")
    arguments = ("verify", str(path), "--mutations", "--model", "net.py:make")
    done = warm.mvdeploy(*arguments, cwd=path.parent)
    assert done.returncode == 0, done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    without = [row[1].strip() for row in rows if row[3].strip() == "no effect"]
    assert without == idle
    good = len(rows) - 2 - len(idle)  # two lines are the head
    assert f"{good} of {good} caught with the right module." in done.stdout
    assert "2 mutations without effect here" in done.stdout


def test_nor_is_it_in_a_delegate(one_token: Callable[[str], Path]) -> None:
    path = one_token(".pte")
    verifier = Verifier(path, model=f"{path.parent}/net.py:make")
    found = verifier.mutations({"softmax axis", "bias dropped"})
    assert {(one.mutation, one.no_effect, one.caught) for one in found} == {
        ("softmax axis", True, False),
        ("bias dropped", False, True),
    }


def test_what_changes_a_last_bit_is_missed(
    one_token: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_token(".onnx")

    def nudge(editor: onnx.Editor, node: NodeProto) -> None:
        weight = editor.constant(node.input[1])
        assert weight is not None
        editor.replace_input(node, 1, np.nextafter(weight, np.float32(np.inf)))

    monkeypatch.setattr(onnx, "_MUTATIONS", {"nudged": (nudge, onnx._has_weight)})
    found = Verifier(path, model=f"{path.parent}/net.py:make").mutations()
    assert [(one.caught, one.no_effect, one.good) for one in found] == [(False, False, False)] * 3
