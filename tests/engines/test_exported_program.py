from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mvdeploy.engines import _exported_program
from mvdeploy.errors import UsageError
from tests import hostile


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.pt2"
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 4),)), path)
    return path


def test_nothing_in_a_program_is_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    said = {}
    for name, path in hostile.programs(small, tmp_path, marker):
        try:
            network = _exported_program.graph_of(_exported_program.load(path))
            network(torch.zeros(1, 4))
            said[name] = "ran"
        except UsageError as error:
            said[name] = error.message
        assert not marker.exists(), name
    # Guards are Python code: they are left out, and the program itself runs.
    assert said.pop("guards") == "ran"
    assert "torch 2.7 or earlier" in said.pop("old")
    assert all("is refused: it holds" in message for message in said.values()), said
    assert "call of 'torch.os.system'" in said["operator"]
    assert "more than tensors in data/weights/weight_0" in said["weight"]


class Texts(nn.Module):
    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, Any]:
        product = torch.einsum("bi,bj->bij", x, x)
        if x.shape[0] > 3:
            product = product + 1
        return {"né'e": functional.gelu(product, approximate="tanh") * scale, "b": (x.sum(-1), [x])}


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = x.clone()
        return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (y,))


def _programs() -> Iterator[tuple[nn.Module, dict[str, torch.Tensor], dict[str, Any] | None]]:
    x = torch.rand(4, 6)
    yield Texts(), {"x": x, "scale": torch.ones(1)}, None
    batch = torch.export.Dim("batch", min=2, max=64)
    yield Texts(), {"x": x, "scale": torch.ones(1)}, {"x": {0: 2 * batch}, "scale": None}
    yield Branches(), {"x": x}, None


@pytest.mark.parametrize("case", range(3))
def test_programs_of_any_form_are_read(case: int, tmp_path: Path) -> None:
    network, inputs, shapes = list(_programs())[case]
    program = torch.export.export(network.eval(), (), inputs, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, tmp_path / "program.pt2")
    read = _exported_program.graph_of(_exported_program.load(tmp_path / "program.pt2"))
    torch.testing.assert_close(read(**inputs), network(**inputs))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2*s77 + 1", True),
        ("Max(1, FloorDiv(s0, 2)**2)", True),
        ("Eq(Mod(s0, 4), 0)", True),
        ("(s0 > 2) & (s1 <= 4)", True),
        ("Mul(Integer(2), Symbol('s26', positive=True, integer=True))", True),
        ("Pow(Symbol('s1'), Integer(2))", True),
        ("Symbol('x', f=open('a'))", False),
        ("Symbol(\"__import__('os')\")", False),
        ("Pow(Pow(9, 8), 8)", False),
        ("9**9**9**9", False),
        ("9**s0", False),
        ("s0.__class__", False),
        ("open('a')", False),
        ("[s0 for s0 in (1,)]", False),
        ("Mod(s0, y=2)", False),
        ("(lambda: 1)()", False),
        ("s0 if s0 else 1", False),
        ("s0 +" * 1000 + "1", False),
        ("(" * 500 + "s0" + ")" * 500, False),
        ("f'{s0}'", False),
        ("system", False),
    ],
)
def test_sizes_are_arithmetic(text: str, good: bool) -> None:
    if good:
        _exported_program._check_expression("expr_str", text)
        return
    with pytest.raises(_exported_program._RefusedError, match="code in place of a size"):
        _exported_program._check_expression("expr_str", text)


@pytest.mark.parametrize(
    ("target", "good"),
    [
        ("torch.ops.aten.conv2d.default", True),
        ("torch.ops.aten._softmax.default", True),
        ("torch.ops.higher_order.cond", True),
        ("_operator.getitem", True),
        ("torch.sym_max", True),
        ("torch.ops.load_library", False),
        ("torch.ops.aten.save.default", False),
        ("torch.ops.aten.add.overloads", False),
        ("torch.ops.aten.__class__.__init__", False),
        ("torch.ops.prim.Print.default", False),
        ("torch.ops.higher_order.call_torchbind", False),
        ("torch.hub.load", False),
        ("_operator.attrgetter", False),
        ("math.__loader__.load_module", False),
        ("#namespace:x", False),
    ],
)
def test_only_operators_of_torch_are_called(target: str, good: bool) -> None:
    if good:
        _exported_program._check_operator("target", target)
        return
    with pytest.raises(_exported_program._RefusedError, match="no operator of torch"):
        _exported_program._check_operator("target", target)
