from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.export import ExportedProgram

from mvdeploy.quiet import quiet
from tests.quantization import networks

Traced = Callable[[str], ExportedProgram]
FILE = Path(networks.__file__)


@pytest.fixture(scope="session")
def traced() -> Traced:
    """Return a function that traces one of the networks, which take an image."""

    @functools.cache
    def make(name: str) -> ExportedProgram:
        network = networks.FACTORIES[name]().eval()
        given = (torch.zeros(1, 3, 16, 16),)
        with quiet():
            return torch.export.export(network, given).run_decompositions({})

    return make
