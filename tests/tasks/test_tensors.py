from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mvdeploy import tasks
from mvdeploy.records import ModelSpec
from mvdeploy.tasks import tensors

T = torch.zeros(1)
Pair = collections.namedtuple("Pair", "near far")


@dataclasses.dataclass
class Result:
    logits: Any
    loss: Any = None


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (T, ["output_0"]),
        ((T, T), ["output_0", "output_1"]),
        ([T], ["output_0"]),
        ({"a": T, "b": {"c": T, "d": [T, T]}}, ["a", "b_c", "b_d_0", "b_d_1"]),
        ({"a.b": T, "0": T}, ["a.b", "0"]),  # as a program names them
        (Result(T), ["logits"]),
        (Result({"a": T}, loss=T), ["logits_a", "loss"]),
        (Pair(T, (T, None)), ["near", "far_0"]),
        ((3, "x", None), []),
    ],
)
def test_every_tensor_has_a_name(result: Any, names: list[str]) -> None:
    found = tensors.named(result)
    assert list(found) == names
    assert all(value is T for value in found.values())
    assert list(tensors.named(found)) == names


def test_the_numbers_alone_are_compared() -> None:
    task = tasks.get("tensors")
    assert task.compare(
        {"a": np.ones(2)}, {"a": np.zeros(2)}, None, ModelSpec("", (), (1, 1))
    ).agrees
    assert task.COLUMNS == ()
