from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from mvdeploy import passes
from mvdeploy.errors import CheckFailed
from mvdeploy.passes import plain_weights

NAME = ("plain_weights",)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def masked() -> nn.Module:
    layer = nn.Linear(4, 3)
    prune.random_unstructured(layer, "weight", amount=0.5)
    prune.l1_unstructured(layer, "bias", amount=1)
    return layer


def twice() -> nn.Module:
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


MADE = {
    "weight norm": (
        lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
        ["weight of 0 without WeightNorm"],
    ),
    "spectral norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
        ["weight of 0 without SpectralNorm"],
    ),
    "old spectral norm": (
        lambda: nn.utils.spectral_norm(nn.Linear(4, 3)),
        ["weight of 0 without SpectralNorm"],
    ),
    "masks": (
        masked,
        ["weight of 0 without RandomUnstructured", "bias of 0 without L1Unstructured"],
    ),
    "two at once": (twice, ["weight of 0 without WeightNorm, Doubled"]),
}


@pytest.mark.parametrize("kind", MADE)
def test_weights_that_are_computed_become_plain(kind: str, images) -> None:
    make, lines = MADE[kind]
    network = nn.Sequential(make()).double().eval()
    x = images(2, 4)
    network(x)
    for value in vars(network[0]).values():
        if isinstance(value, Tensor):
            value.detach_()
    before = copy.deepcopy(network)
    written, (report,) = passes.prepare(network, x)
    assert list(report.changed) == lines
    assert type(written[0]) is nn.Linear
    assert not written[0]._forward_pre_hooks
    assert {name for name, _ in written[0].named_parameters()} == {"weight", "bias"}
    # What was given stays as it was, and still runs.
    torch.testing.assert_close(network(x), before(x))
    assert plain_weights.concerns(network) and not plain_weights.concerns(written)


def test_a_network_with_plain_weights_is_not_concerned(images) -> None:
    network = nn.Sequential(nn.Linear(4, 3)).double().eval()
    assert passes.prepare(network, images(2, 4)) == (network, ())


def test_a_weight_that_is_left_is_caught(images, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))).double().eval()
    monkeypatch.setattr(plain_weights, "rewrite", lambda network, example: ([], []))
    with pytest.raises(CheckFailed, match="could be computed once but was not"):
        passes.apply(network, images(2, 4), NAME)
    assert passes.prepare(network, images(2, 4), NAME) == (network, ())
