"""Small programs for LiteRT, converted once for all workers of a run.

They are converted and read without mvdeploy's own format, and modules are named after the tensors:
what is tested shares nothing with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy.records import Artifact, ModuleInfo, Operator
from tests import shared
from tests.saved_runs import bare_artifact

SHAPE = (1, 3, 16, 16)


class Small(nn.Module):
    """One delegate; XNNPACK merges the padding with the second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.SiLU()
        self.down, self.head = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.down(self.act(self.conv(image)))
        return {"logits": self.head(x.mean((2, 3))).softmax(-1)}


class Cut(nn.Module):
    """Two delegates with an operator between them; `late` is after it in the file, not when run."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.late = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3), nn.Conv2d(4, 6, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.a(image).tanh()
        return {"scan": self.b(torch.cumsum(x, 2)), "late": self.late(x).sigmoid()}


class Whole(nn.Module):
    """Two inputs and two outputs of other types and shapes."""

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"twice": x + x * 2, "sum": n + 1}


NETWORKS: dict[str, type[nn.Module]] = {"small": Small, "cut": Cut, "whole": Whole}

BARE = bare_artifact("bare.tflite", "litert")
"""An artifact of which nothing is known."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A file, the network that it was made from, an input for it, and what is in it."""

    path: Path
    network: nn.Module
    inputs: dict[str, np.ndarray]
    artifact: Artifact

    def expected(self) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            made = self.network(**{n: torch.from_numpy(t) for n, t in self.inputs.items()})
        return {name: tensor.numpy() for name, tensor in made.items()}


def network(name: str) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """Return a network and an input for it."""
    torch.manual_seed(0)
    made = NETWORKS[name]().eval()
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    if name == "whole":
        return made, {"x": image, "n": np.arange(4, dtype=np.int32)}
    return made, {"image": image}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Program]:
    """Return a function that gives a small program by its name."""
    folder = shared.folder(tmp_path_factory) / "litert"
    folder.mkdir(exist_ok=True)
    with shared.locked(folder / "lock"):
        if not (folder / "done").exists():
            convert(folder)
            (folder / "done").touch()
    return lambda name: read(name, folder)


def read(name: str, folder: Path) -> Program:
    """Return a program from a folder in which all lie."""
    path = folder / f"{name}.tflite"
    made, inputs = network(name)
    operators = _operators(path)
    modules = {op.module: ModuleInfo(op.module.rpartition("_")[0], None) for op in operators}
    artifact = dataclasses.replace(
        BARE, path=path.name, operators=tuple(operators), modules=modules
    )
    return Program(path, made, inputs, artifact)


def convert(folder: Path) -> None:
    """Convert all networks, in a process of its own: the converter is large."""
    words = [sys.executable, "-m", "tests.engines.litert_programs", str(folder)]
    subprocess.run(words, check=True, capture_output=True)


def _operators(path: Path) -> list[Operator]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    graph = model.subgraphs[0]

    def names(places: object) -> tuple[str, ...]:
        return tuple(f"{graph.tensors[i].name.decode()}@{i}" for i in places if i >= 0)  # type: ignore[attr-defined]

    found = []
    for number, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        # "tests.Small/torch…Conv2d_conv;2": the last part of the path is class and name.
        scope = names(operator.outputs)[0].split(";")[0].rpartition("/")[2].rpartition(".")[2]
        found.append(
            Operator(f"{number}", kind, scope, names(operator.inputs), names(operator.outputs))
        )
    return found


def _main(folder: Path) -> None:
    import litert_torch

    for name in NETWORKS:
        made, inputs = network(name)
        arguments = {n: torch.from_numpy(tensor) for n, tensor in inputs.items()}
        converted = litert_torch.signature("run", made, sample_kwargs=arguments).convert()
        part = folder / f"{name}.part"
        converted.export(str(part))
        part.rename(folder / f"{name}.tflite")


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        _main(Path(sys.argv[1]))
