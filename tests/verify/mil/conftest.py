"""Saved Core ML packages to execute: converted once, then copied where a test changes them."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mvdeploy.quiet import quiet

with quiet(errors=True):
    import coremltools as ct

Save = Callable[..., Path]


class SmallNetwork(nn.Module):
    """A convolution, a norm over tokens, attention and a classifier: 2×3×8×8 → 2×5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.head = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = nn.functional.silu(self.conv(image)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, -1)
        tokens = tokens + (q @ k.transpose(1, 2) * 0.25).softmax(-1) @ v
        return self.head(tokens.mean(1))


def convert(
    module: nn.Module | torch.export.ExportedProgram,
    example: tuple[torch.Tensor, ...] = (),
    **options: Any,
) -> Any:
    """Return a network as a Core ML model; iOS17 and float32 unless said otherwise."""
    options.setdefault("minimum_deployment_target", ct.target.iOS17)
    options.setdefault("compute_precision", ct.precision.FLOAT32)
    with quiet(errors=True), torch.no_grad():
        if isinstance(module, nn.Module):
            module = torch.export.export(module.eval(), example).run_decompositions({})
        return ct.convert(module, skip_model_load=True, **options)


@pytest.fixture(scope="session", name="convert")
def give_convert() -> Callable[..., Any]:
    """Return `convert`."""
    return convert


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Return a function that saves a Core ML model, or a network after converting it."""
    folder = tmp_path_factory.mktemp("packages")
    numbers = itertools.count()

    def make(model: Any, example: tuple[torch.Tensor, ...] = (), **options: Any) -> Path:
        if isinstance(model, nn.Module | torch.export.ExportedProgram):
            model = convert(model, example, **options)
        path = folder / f"{next(numbers)}.mlpackage"
        model.save(str(path))
        return path

    return make


@pytest.fixture(scope="session")
def small() -> tuple[nn.Module, torch.Tensor]:
    """Return a network and an image for it; the norm's input varies little, as eps is to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = SmallNetwork().eval()
        network.norm.eps = 1e-3
        return network, torch.randn(2, 3, 8, 8)


@pytest.fixture(scope="session")
def small_package(save: Save, small: tuple[nn.Module, torch.Tensor]) -> Callable[[str], Path]:
    """Return a function that gives the small network's package in "fp32" or "fp16"."""
    network, image = small

    @functools.cache
    def make(precision: str) -> Path:
        chosen = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
        return save(
            network,
            (image,),
            compute_precision=chosen,
            inputs=[ct.TensorType(name="image", shape=tuple(image.shape))],
            outputs=[ct.TensorType(name="logits")],
        )

    return make


Edit = Callable[[Path, Callable[[Any], None]], Path]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Return a function that copies a package and changes the main block of the copy's program."""

    def change(package: Path, mutate: Callable[[Any], None]) -> Path:
        path = tmp_path / "edited.mlpackage"
        shutil.copytree(package, path)
        file = path / "Data/com.apple.CoreML/model.mlmodel"
        model = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
        function = model.mlProgram.functions["main"]
        mutate(function.block_specializations[function.opset])
        file.write_bytes(model.SerializeToString())
        return path

    return change
