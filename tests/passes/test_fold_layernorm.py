from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import passes
from mvdeploy.errors import CheckFailed
from mvdeploy.passes import fold_layernorm
from mvdeploy.records import PassReport

How = Callable[["Block", Tensor], Tensor]


class Block(nn.Module):
    """A norm before some layers, and what else is done with its result."""

    def __init__(
        self, how: Callable[[Block, Tensor], Tensor], norm: nn.Module, **layers: nn.Module
    ):
        super().__init__()
        self.how, self.norm = how, norm
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def fold(network: nn.Module, initialised: Callable[..., nn.Module]) -> tuple[nn.Module, PassReport]:
    example = torch.rand(2, 5, 6, dtype=torch.double)
    network = initialised(network)
    before = copy.deepcopy(network.state_dict())
    folded, (report,) = passes.apply(network, example, ("fold_layernorm",))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(folded(example), network(example), rtol=1e-9, atol=1e-9)
    return folded, report


def linear(bias: bool = True) -> nn.Linear:
    return nn.Linear(6, 6, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given", [{}, {"bias": False}, {"eps": 0.5}])
def test_it_goes_into_every_layer_that_reads_it(initialised, bias: bool, given: dict) -> None:
    network = Block(
        lambda m, x: m.q(y := m.norm(x)) * m.k(y),
        nn.LayerNorm(6, **given),
        q=linear(bias),
        k=linear(),
    )
    folded, report = fold(network, initialised)
    assert report.changed == ("norm into q and k",)
    assert not report.left
    assert folded.norm.weight is None
    assert folded.norm.bias is None
    assert folded.q.bias is not None


WHY = {
    "more than linear": lambda: Block(
        lambda m, x: m.q(y := m.norm(x)) + y, nn.LayerNorm(6), q=linear()
    ),
    "more than linear ": lambda: Block(lambda m, x: m.norm(x).relu(), nn.LayerNorm(6)),
    "more than linear  ": lambda: Block(
        lambda m, x: m.q(m.norm(x).relu_()), nn.LayerNorm(6), q=linear()
    ),
    "exactly once": lambda: Block(
        lambda m, x: m.q(m.norm(x)) + m.q(m.norm(x + 1)), nn.LayerNorm(6), q=linear()
    ),
    "more than the last axis": lambda: Block(
        lambda m, x: m.q(m.norm(x)), nn.LayerNorm((5, 6)), q=linear()
    ),
    "used elsewhere": lambda: Block(
        lambda m, x: m.q(m.norm(x)) + m.q.weight.sum(), nn.LayerNorm(6), q=linear()
    ),
}


@pytest.mark.parametrize("why", WHY)
def test_it_stays_where_folding_would_change_the_result(initialised, why: str) -> None:
    _, report = fold(WHY[why](), initialised)
    assert not report.changed
    (line,) = report.left
    assert why.strip() in line


def test_a_hook_keeps_it(initialised) -> None:
    network = Block(lambda m, x: m.q(m.norm(x)), nn.LayerNorm(6), q=linear())
    network.q.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    _, report = fold(network, initialised)
    assert not report.changed


def test_its_promise_is_checked(initialised, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_layernorm, "_fold", lambda norm, layer: None)
    network = Block(lambda m, x: m.q(m.norm(x)), nn.LayerNorm(6), q=linear())
    with pytest.raises(CheckFailed, match="fold_layernorm moved the outputs"):
        fold(network, initialised)
