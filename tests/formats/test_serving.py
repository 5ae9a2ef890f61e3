"""Operators in modules without a category belong to what they serve."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import formats, models
from mvdeploy.formats._serving import placed
from mvdeploy.records import Category, ModelSpec, ModuleInfo, Operator, Preprocessing, TensorInfo

A, F, P = Category.ATTENTION, Category.FFN, Category.PRE_AND_POST


class Part(nn.Sequential):
    def __init__(self, category: Category, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.category = category


class Block(nn.Module):
    """Of a kind that declares no category, as that of every second file of others."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.behind = nn.LayerNorm(8), nn.LayerNorm(8)
        self.mixer = Part(A, nn.Linear(8, 8), nn.Sigmoid())
        self.scale = nn.Parameter(torch.rand(8))
        self.mlp = Part(F, nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mixer(self.before(x).flip(1)).flip(1)
        x = x + self.scale * mixed
        return x + self.behind(self.mlp(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Part(P, nn.Linear(4, 8))
        self.position = nn.Parameter(torch.rand(1, 6, 8))
        self.block = Block()
        options = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(**options, norm_first=first)  # type: ignore[arg-type]
            for first in (True, False)
        )
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.stem(x.flatten(2).transpose(1, 2)) + self.position)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.head(self.norm(x)[:, 0])
        return out


@pytest.mark.parametrize("format_name", ["onnx", "executorch", "pytorch"])
def test_additions_and_norms_belong_to_the_branch(format_name: str, tmp_path: Path) -> None:
    network = Transformer().eval()
    takes = (TensorInfo("x", (1, 4, 2, 3), "float32"),)
    spec = ModelSpec("own", (), (2, 3), num_classes=3, own_inputs=takes)
    table = models.module_table(network)
    source = formats.Source(spec, network, table, 0, (), Preprocessing((2, 3), (2, 3)))
    artifact = formats.write(source, format_name, tmp_path / f"x{formats.suffix(format_name)}")
    found = [(op, op.category or artifact.category(op.module)) for op in artifact.operators]
    assert [op for op, category in found if category is None] == []
    sums = Counter(
        (op.module, op.category)
        for op, _ in found
        if "add" in op.type.lower().split(".") and op.module in ("", "block", *LAYERS)
    )
    assert sums == {("", P): 1} | {(path, c): 1 for path in ("block", *LAYERS) for c in (A, F)}
    norms = {op.module: category for op, category in found if ".norm" in f".{op.module}"}
    norms |= {op.module: c for op, c in found if op.module in ("block.before", "block.behind")}
    assert norms == {
        "block.before": A,
        "block.behind": F,
        **{f"{path}.norm1": A for path in LAYERS},
        **{f"{path}.norm2": F for path in LAYERS},
        "norm": P,
    }
    scales = {c for op, c in found if op.module == "block" and "mul" in op.type.lower()}
    assert scales == {A}


LAYERS = ("layers.0", "layers.1")


def operators(*lines: str) -> tuple[Operator, ...]:
    """``name type module: inputs`` for each."""
    made = []
    for line in lines:
        (name, kind, *module), inputs = line.partition(":")[0].split(), line.partition(":")[2]
        made.append(Operator(name, kind, "".join(module), tuple(inputs.split()), (name,)))
    return tuple(made)


TABLE = {
    "": ModuleInfo("Net", None),
    "b": ModuleInfo("Block", None),
    "b.a": ModuleInfo("Attention", A),
    "b.f": ModuleInfo("FFN", F),
}


def test_of_branches_side_by_side_each_addition_closes_one() -> None:
    found = placed(
        operators(
            "x Conv", "a MatMul b.a: x", "f MatMul b.f: x", "g MatMul b.f: f",
            "one Add b: x a", "two Add b: one g",
        ),
        TABLE,
    )  # fmt: skip
    assert [op.category for op in found] == [A, None, None, None, A, F]


def test_the_order_of_operators_does_not_matter() -> None:
    lines = ("x MatMul b.f", "s Add b: x a", "a MatMul b.a: n", "n Norm b: x")
    found = {op.name: op.category for op in placed(operators(*lines), TABLE)}
    assert found == {"x": None, "s": A, "a": None, "n": F}


def test_what_nothing_tells_stays_open() -> None:
    alone = operators("x Relu", "y Add: x w")
    assert [op.category for op in placed(alone, TABLE)] == [None, None]
    nothing = {"": ModuleInfo("Net", None)}
    assert placed(alone, nothing) == alone


def test_a_circle_in_a_damaged_file_ends() -> None:
    circle = operators("x Add b: y z", "y Relu b: x", "z Relu b: y")
    assert placed(circle, TABLE) == circle
