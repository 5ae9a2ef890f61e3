from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import passes
from mvdeploy.records import PassReport

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _initialised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a value that shows when it is left out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for name, value in (*module.named_parameters(recurse=False),):
                value.normal_(0, 0.6, generator=generator)
                if isinstance(module, NORMS) and name == "weight":
                    value.uniform_(0.4, 1.8, generator=generator)
            if isinstance(module, NORMS) and module.running_mean is not None:
                assert module.running_var is not None
                module.running_mean.normal_(0, 1, generator=generator)
                module.running_var.uniform_(0.05, 3, generator=generator)
    return network.double().eval()


def _fold(network: nn.Module, example: Tensor) -> tuple[nn.Module, PassReport]:
    """Fold, and check all that holds for every network."""
    before = copy.deepcopy(network.state_dict())
    folded, (report,) = passes.apply(network, example, ("fold_batchnorm",))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    paths = [path for path, m in network.named_modules() if isinstance(m, NORMS)]
    gone = [line.split(" into ")[0] for line in report.changed]
    stay = [line.split(": ")[0] for line in report.left]
    assert sorted(gone + stay) == sorted(paths)
    assert all(line.split(": ")[1] for line in report.left)
    assert {p for p, m in folded.named_modules() if isinstance(m, NORMS)} == set(stay)
    with torch.no_grad():
        torch.testing.assert_close(folded(example), network(example), rtol=1e-9, atol=1e-9)
    return folded, report


def _images(*shape: int) -> Tensor:
    return torch.rand(shape or (2, 3, 6, 5), dtype=torch.double)


@pytest.fixture(scope="session")
def initialised() -> Callable[..., nn.Module]:
    return _initialised


@pytest.fixture(scope="session")
def fold() -> Callable[[nn.Module, Tensor], tuple[nn.Module, PassReport]]:
    return _fold


@pytest.fixture(scope="session")
def images() -> Callable[..., Tensor]:
    return _images
