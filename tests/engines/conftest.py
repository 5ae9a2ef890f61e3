"""Small programs for ExecuTorch, lowered once for the whole session."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy.records import Artifact, Category, ModuleInfo
from tests.saved_runs import bare_artifact

Inputs = Mapping[str, "np.ndarray"]


class Small(nn.Module):
    """One delegate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.act(self.conv(x)).mean((2, 3), keepdim=True)
        return self.head(mean.flatten(1)).softmax(-1)


class Scan(nn.Module):
    """No XNNPACK operator does this."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(2)


class Two(nn.Module):
    """Two delegates of the same kinds of operators, with a kernel between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.scan, self.b = nn.Conv2d(3, 4, 3), Scan(), nn.Conv2d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.scan(self.a(x).tanh())).sigmoid()


class Undelegated(nn.Module):
    """No delegate."""

    def __init__(self) -> None:
        super().__init__()
        self.scan = Scan()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scan(self.scan(x))


class Fused(nn.Module):
    """XNNPACK takes the transposition into the product, so that fewer operators run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.bmm(x, x.transpose(1, 2))


class Sum(nn.Module):
    """Two inputs and two outputs of other types and shapes."""

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + x * 2, n.cumsum(0)


class Zoo(nn.Module):
    """One of nearly everything that XNNPACK takes."""

    def __init__(self) -> None:
        super().__init__()
        self.point, self.deep = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up, self.prelu = nn.ConvTranspose2d(8, 8, 2, 2), nn.PReLU(8)
        self.line = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        f = nn.functional
        x = self.deep(self.point(x).abs().clamp(0.1, 0.9)).relu()
        x = f.max_pool2d(f.avg_pool2d(self.up(x), 2), 2, 1)
        x = f.interpolate(self.prelu(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        y = f.gelu(x).exp() + f.hardswish(x).sin() - f.leaky_relu(x).cos() / (x.floor() + 2)
        y = torch.maximum(y, x).neg() * torch.minimum(y.ceil(), f.hardtanh(x))
        y = torch.cat([y[:, 2:5] ** 2, (y * y + 1).rsqrt()[:, :5]], 1)
        y = f.pad(y, (1, 1))
        z = self.line((y.abs() + 1).log().sqrt().flatten(2))
        w = torch.bmm(z, y.reshape(1, -1, 8).tanh())
        return w.softmax(-1), z.permute(0, 2, 1)


NETWORKS: dict[str, tuple[type[nn.Module], tuple[torch.Tensor, ...]]] = {
    "small": (Small, (torch.rand(1, 3, 16, 16),)),
    "two": (Two, (torch.rand(1, 3, 16, 16),)),
    "undelegated": (Undelegated, (torch.rand(1, 3, 8, 8),)),
    "fused": (Fused, (torch.rand(2, 6, 8),)),
    "zoo": (Zoo, (torch.rand(1, 8, 12, 12),)),
    "sum": (Sum, (torch.rand(1, 3, 8, 8), torch.arange(4))),
}


BARE = bare_artifact("bare.pte", "executorch")


@dataclasses.dataclass(frozen=True)
class Program:
    path: Path
    network: nn.Module
    inputs: Inputs
    artifact: Artifact

    def outputs(self, inputs: Inputs | None = None) -> list[np.ndarray]:
        with torch.inference_mode():
            given = [torch.from_numpy(t.copy()) for t in (inputs or self.inputs).values()]
            made = self.network(*given)
        return [t.numpy() for t in (made if isinstance(made, tuple) else (made,))]


def lower(network: nn.Module, examples: tuple[torch.Tensor, ...], path: Path) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mvdeploy.formats.executorch import lowering
        from mvdeploy.formats.executorch.backends import xnnpack

        exported = torch.export.export(network, examples)
        with xnnpack.lowering():
            lowered = lowering.lower(exported, xnnpack, {})
    path.write_bytes(lowered.data)
    categories = Category.ordered(())
    modules = {
        name: ModuleInfo(type(module).__name__, categories[i % len(categories)])
        for i, (name, module) in enumerate(network.named_modules())
    }
    artifact = dataclasses.replace(
        BARE, path=path.name, operators=lowered.operators, modules=modules
    )
    names = ["image", "numbers"]
    inputs = {name: t.numpy() for name, t in zip(names, examples, strict=False)}
    return Program(path, network, inputs, artifact)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Program]:
    """Return a function that lowers a network by name."""
    folder = tmp_path_factory.mktemp("programs")

    @functools.cache
    def make(name: str) -> Program:
        torch.manual_seed(0)
        network, examples = NETWORKS[name]
        return lower(network().eval(), examples, folder / f"{name}.pte")

    return make


@pytest.fixture(scope="session")
def bare() -> Artifact:
    """Return an artifact of which nothing is known."""
    return BARE


@pytest.fixture(scope="session")
def xxs(exported):
    """Return MobileViT-XXS, exported as users do it."""
    return exported("executorch")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Say which extensions the processor has, by Linux's names; None for another system."""

    def set_flags(flags: str | None) -> None:
        def read_text(path: Path, **_: object) -> str:
            assert str(path) == "/proc/cpuinfo"
            if flags is None:
                raise FileNotFoundError
            return f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n"

        monkeypatch.setattr(Path, "read_text", read_text)

    return set_flags
