"""Networks without memory for their weights: enough for names, shapes and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mvdeploy import models
from mvdeploy.records import ModelSpec

Make = Callable[..., tuple[nn.Module, ModelSpec]]


@pytest.fixture(scope="session")
def shaped() -> Make:
    """Return a function that gives a network on torch's meta device, and its spec."""

    def make(model: str, **asked: Any) -> tuple[nn.Module, ModelSpec]:
        spec = models.make_spec(model, **asked)
        with torch.device("meta"):
            return models._family(model).build(spec).eval(), spec

    return make
