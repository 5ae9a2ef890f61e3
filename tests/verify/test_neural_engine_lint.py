"""What may keep operators off the Neural Engine, found in real packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mvdeploy import formats
from mvdeploy.formats import Options, Written, coreml
from mvdeploy.records import PlacementRisk
from mvdeploy.verify import mil
from mvdeploy.verify.neural_engine_lint import lint, remedy
from tests.conftest import MakeExport
from tests.formats.subjects import subject


class Attention(nn.Module):
    """Tokens with the channels last, and heads made by transposes."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).mean((1, 2))


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3), nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean((2, 3))


class Resized(Convolutions):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.interpolate(x, (9, 9), mode="bilinear"))


Lint = Callable[..., dict[str, list[PlacementRisk]]]


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> Lint:
    folder = tmp_path_factory.mktemp("placement")

    def run(network: nn.Module, precision: str = "fp16") -> dict[str, list[PlacementRisk]]:
        path: Path = folder / f"{type(network).__name__}-{precision}.mlpackage"
        facts = {"mvdeploy.version": "1", "mvdeploy.model": "tiny"}
        options = formats.complete("coreml", Options(precision=precision))
        given = subject(network, torch.rand(1, 8, 6, 6), facts)
        written: Written = coreml.write(given, path, options)
        found: dict[str, list[PlacementRisk]] = {}
        for risk in lint(mil.operations(path), _manifest(written)):
            found.setdefault(risk.rule, []).append(risk)
        return found

    return run


def _manifest(written: Written) -> Any:
    class Manifest:
        operators = written.operators

    return Manifest()


def test_convolutions_have_nothing_against_them(linted: Lint) -> None:
    assert linted(Convolutions()) == {}


def test_attention_with_the_channels_last(linted: Lint) -> None:
    found = linted(Attention())
    assert set(found) == {"rank", "transpose", "linear"}
    (rank,) = found["rank"]
    assert rank.detail == "5 dimensions"
    (linear,) = found["linear"]
    assert (linear.module, len(linear.operators)) == ("qkv", 1)
    assert all(risk.module == "" for risk in found["transpose"])


def test_resizing_is_named(linted: Lint) -> None:
    (risk,) = linted(Resized())["resize"]
    assert risk.detail == "upsample_bilinear"
    assert "patches" in remedy("resize")


def test_single_precision_is_named_for_every_operator(linted: Lint) -> None:
    (conv, act, mean) = linted(Convolutions(), "fp32")["float32"]
    assert (conv.module, act.module, mean.module) == ("body.0", "body.1", "")
    assert "--precision fp16" in remedy("float32")


@pytest.mark.slow
def test_the_formulations_of_the_network(exported: MakeExport) -> None:
    first = exported("coreml", patches="2,2,2", size="64", precision="fp16").artifact
    assert first.placement == ()
    chosen = {"precision": "fp32", "formulation": "plain"}
    plain = exported("coreml", patches="2,2,2", size="128", **chosen).artifact
    found = {risk.rule for risk in plain.placement or ()}
    assert {"transpose", "linear", "float32"} <= found
    assert len(plain.operators) > len(first.operators)
