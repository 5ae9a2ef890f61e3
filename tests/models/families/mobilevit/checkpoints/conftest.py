"""Checkpoints of every layout, made from our network by a table that is not the package's."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]
MakeState = Callable[..., State]


@pytest.fixture(scope="session")
def table() -> dict[str, Any]:
    """Names and shapes as the libraries themselves have them."""
    path = Path(__file__).parents[4] / "data" / "state_dict_names.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@pytest.fixture(scope="session")
def state(built: Any, table: dict[str, Any]) -> MakeState:
    """Return a function that gives our network's weights as a library would save them."""

    @functools.cache
    def make(layout: str, model: str = "mobilevit_xxs", classes: int = 7) -> State:
        column = table["layouts"].index(layout)
        ours = built(model, classes).state_dict()
        found: State = {}
        # Our network and the table have the same order.
        for tensor, row in zip(ours.values(), table["tensors"], strict=True):
            names = row["names"][column]
            names = names if isinstance(names, list) else [names]
            assert tensor.shape[1:] == torch.Size(row["shapes"][model])[1:]
            parts = tensor.chunk(len(names)) if tensor.ndim else (tensor,)
            found |= dict(zip(names, parts, strict=True))
        return found

    return lambda *args, **named: {k: v.clone() for k, v in make(*args, **named).items()}
