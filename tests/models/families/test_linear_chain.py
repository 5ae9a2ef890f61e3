from __future__ import annotations

import pytest
import torch

from mvdeploy import models
from mvdeploy.models.families.linear_chain import LENGTHS


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_so_many_layers_and_the_signal_goes_through(length: int) -> None:
    spec = models.make_spec(f"linear_chain_{length}")
    network = models.build(spec)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == length
    assert max(layer.weight.numel() for layer in layers) < 12_000
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = network(images)
    assert answers.shape == (4, 16)
    assert answers.std(dim=0).mean() > 1e-3  # outputs depend on the image


def test_both_have_layers_of_the_same_sizes() -> None:
    shapes = [
        {tuple(p.shape) for p in models.build(models.make_spec(f"linear_chain_{n}")).parameters()}
        for n in LENGTHS
    ]
    assert len(shapes[0] ^ shapes[1]) <= 4  # the ends of the chains
