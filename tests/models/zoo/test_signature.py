"""What a factory may declare of what its network takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _signature
from mvdeploy.records import TensorInfo

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, a, b):
        return a.float().sum() + b.float().sum(dim=0)


make = Net()
make.inputs = {inputs!r}
"""


def spec_of(folder: Path, inputs: Any) -> Any:
    (folder / "net.py").write_text(NETWORK.format(inputs=inputs))
    return models.make_spec(f"{folder}/net.py:make")


def test_inputs_are_shapes_or_more(tmp_path: Path) -> None:
    more = {"shape": [4, 3], "dtype": "int32", "values": [-5, 5]}
    spec = spec_of(tmp_path, {"b": more, "a": (4, 3, 8, 6)})
    assert spec.own_inputs == (
        TensorInfo("a", (4, 3, 8, 6), "float32", "NCHW"),
        TensorInfo("b", (4, 3), "int32", values=(-5.0, 5.0)),
    )
    assert spec.inputs == spec.own_inputs
    assert (spec.batch, spec.image_size, spec.task) == (4, (8, 6), "tensors")
    assert spec.own_outputs == (TensorInfo("output_0", (3,), "float32"),)
    other = spec.with_batch(2)
    assert [tensor.shape for tensor in other.inputs] == [(2, 3, 8, 6), (2, 3)]
    assert other.own_outputs == spec.own_outputs
    with pytest.raises(UsageError, match="declares what it takes"):
        models.make_spec(spec.model, image_size=(8, 8))


def test_values_follow_from_the_element_type(tmp_path: Path) -> None:
    scalars = {"a": {"shape": (), "dtype": "bool"}, "b": {"shape": (2, 1), "dtype": "uint8"}}
    spec = spec_of(tmp_path, scalars)
    assert [tensor.values for tensor in spec.inputs] == [(0, 1), (0, 255)]
    assert spec.slug.endswith("make")  # no image, no size
    grey = spec_of(tmp_path / "..", {"a": (1, 1, 8, 8), "b": (1, 3)})
    assert [tensor.values for tensor in grey.inputs] == [(0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([(1, 3)], "are a list"),
        ({"a": 3}, "have no shape for 'a'"),
        ({"a": {"dtype": "int64"}}, "have no shape for 'a'"),
        ({"a": (1, "batch")}, "have no shape for 'a'"),
        ({"a": (0, 3)}, r"have the shape \(0, 3\) for 'a'"),
        ({"a": {"shape": (1,), "size": 3}}, "have 'size' for 'a'"),
        ({"a": {"shape": (1,), "dtype": "float64"}}, "have the element type float64 for 'a'"),
        ({"a": {"shape": (1,), "dtype": "int64"}}, "which values the whole numbers of 'a' have"),
        ({"a": {"shape": (1,), "values": (3, 1)}}, r"have the values \(3, 1\) for 'a'"),
        ({"a": {"shape": (1,), "values": 3}}, "have the values 3 for 'a'"),
        ({"a": (1, 2)}, "does not take its inputs"),
    ],
)
def test_what_cannot_be_is_refused(inputs: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        spec_of(tmp_path, inputs)


def test_outputs_have_names_that_every_format_can_have() -> None:
    import torch

    x = torch.zeros(1)
    named = _signature._named({0: x, "p.q-r": x, "_x": x, "a": {"b": x}, "a.b": x})
    assert list(named) == ["output_0", "p_q_r", "output__x", "a_b", "a_b_"]
