from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy import passes
from mvdeploy.records import Operator
from mvdeploy.verify import localise


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.relu(self.one(x)))


OPERATORS = (
    Operator("n1", "Gemm", "one", ("x", "w1"), ("a",)),
    Operator("n2", "Relu", "", ("a",), ("b",)),
    Operator("n3", "Gemm", "two", ("b", "w2"), ("c",)),
)


def setup() -> tuple[localise.Capture, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    network, x = Twice().eval(), torch.rand(1, 3)
    capture = localise.Capture(network, x)
    return capture, dict(localise.references(OPERATORS, capture))


def test_inputs_and_outputs_of_modules_are_paired_with_tensors() -> None:
    capture, values = setup()
    assert set(values) == {"a", "b", "c"}
    np.testing.assert_array_equal(values["b"], capture.inputs["two"])
    np.testing.assert_array_equal(values["c"], capture.outputs["two"])


class Scaled(nn.Module):
    """A layer whose last product an exporter may fuse with the scale that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Tanh(), nn.Linear(3, 3), nn.Dropout())
        self.scale = nn.Hardtanh(-0.1, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale(self.layer(x))


def test_what_was_fused_into_a_later_module_is_not_compared() -> None:
    capture = localise.Capture(Scaled().eval(), torch.rand(1, 3))
    tanh = Operator("n1", "tanh", "layer.0", ("x",), ("a",))
    product = Operator("n2", "linear", "layer.1", ("a",), ("b",))
    scale = Operator("n3", "clip", "scale", ("b",), ("c",))
    assert set(localise.references((tanh, product, scale), capture)) == {"a", "b", "c"}
    fused = Operator("n3", "linear", "scale", ("a",), ("c",))
    values = localise.references((tanh, fused), capture)
    # 'a' has the shape of what the layer returns.
    np.testing.assert_array_equal(values["a"], capture.outputs["layer.0"])
    assert localise.ends((tanh, fused), capture)["layer"] == ("", "")
    assert localise.ends((tanh, fused), capture)["scale"] == ("", "c")


def test_a_boundary_knows_what_it_is_computed_from() -> None:
    found = localise.boundaries(OPERATORS, ["a", "b", "c"])
    assert [(b.tensor, b.module, b.inputs) for b in found] == [
        ("a", "one", ()),
        ("b", "", ("a",)),
        ("c", "two", ("b",)),
    ]
    assert localise.boundaries(OPERATORS, ["c"])[0].inputs == ()


def test_equal_tensors_do_not_diverge() -> None:
    capture, values = setup()
    results = localise.compare(OPERATORS, capture, values)
    assert [r.diverges for r in results] == [False, False, False]


def test_only_the_first_wrong_tensor_diverges() -> None:
    capture, values = setup()
    wrong = {**values, "b": values["b"] * 1.01, "c": values["c"] * 1.01}
    results = localise.compare(OPERATORS, capture, wrong)
    assert [(r.tensor, r.diverges) for r in results] == [("a", False), ("b", True), ("c", False)]
    assert 39 < (results[1].snr_db or 0) < 41


def test_rounding_that_grows_slowly_is_no_fault() -> None:
    capture, values = setup()
    noisy = {
        name: value * (1 + 1e-6 * factor)
        for (name, value), factor in zip(values.items(), (1, 3, 9), strict=True)
    }
    assert not any(r.diverges for r in localise.compare(OPERATORS, capture, noisy))


def test_values_that_are_no_numbers_diverge() -> None:
    capture, values = setup()
    wrong = {**values, "b": np.full_like(values["b"], np.nan)}
    results = localise.compare(OPERATORS, capture, wrong)
    assert results[1].diverges
    assert results[1].max_abs is None


def test_a_tensor_of_another_shape_is_left_out() -> None:
    capture, values = setup()
    results = localise.compare(OPERATORS, capture, {**values, "b": values["b"][:, :2]})
    assert [r.tensor for r in results] == ["a", "c"]


def test_what_a_batchnorm_reads_is_left_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()).eval()
    capture = localise.Capture(network, torch.rand(1, 3, 2, 2))
    assert set(capture.outputs) == {"1", "2"}
    assert set(capture.inputs) == {"0", "2"}


def test_what_works_in_place_does_not_change_what_was_seen() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)).eval()
    capture = localise.Capture(network, -torch.ones(1, 3))
    assert (capture.outputs["0"] < 0).any()
    assert (capture.inputs["1"] < 0).any()
    assert (capture.outputs["1"] >= 0).all()


def test_a_module_that_runs_twice_is_left_out() -> None:
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, nn.ReLU(), shared).eval()
    capture = localise.Capture(network, torch.rand(1, 3))
    assert set(capture.outputs) == {"1"}
    assert not shared._forward_hooks


def plainly(operators: tuple[Operator, ...], capture: localise.Capture) -> dict[str, np.ndarray]:
    """Find the same as `localise.references`, operator by operator, as its docstring says it."""
    maker = {out: op for op in operators for out in op.outputs}
    values: dict[str, np.ndarray] = {}
    for path in sorted(capture.outputs, key=lambda p: p.count(".")):
        inside = [op for op in operators if op.module == path or op.module.startswith(path + ".")]
        made = {out for op in inside for out in op.outputs}
        used = {name for op in operators if op not in inside for name in op.inputs}
        entering = {n for op in inside for n in op.inputs if n in maker and n not in made}
        leaving = [out for op in inside for out in op.outputs if out in used or op is operators[-1]]
        if len(entering) == 1 and path in capture.inputs:
            values.setdefault(entering.pop(), capture.inputs[path])
        if len(leaving) == 1:
            values[leaving[0]] = capture.outputs[path]
    return values


@pytest.mark.parametrize("format_name", ["onnx", "pytorch", "executorch"])
def test_tensors_of_real_networks_are_found_in_one_walk(exported, format_name: str) -> None:
    export = exported(format_name)
    names = tuple(report.name for report in export.artifact.passes)
    image = torch.rand(1, 3, *export.spec.image_size)
    rewritten, _ = passes.apply(export.network, image, names)
    capture = localise.Capture(rewritten, image)
    operators = export.artifact.operators
    found, wanted = localise.references(operators, capture), plainly(operators, capture)
    assert list(found) == list(wanted)
    assert all(found[name] is wanted[name] for name in wanted)
    assert len(found) > 40


def test_operators_that_share_names_and_read_themselves_are_found_alike() -> None:
    capture, _ = setup()
    operators = (
        Operator("n1", "Gemm", "one", ("x",), ("a",)),
        Operator("n1:2", "Add", "one", ("a",), ("a",)),  # as delegates split an operator
        Operator("n2", "Split", "one", ("a",), ("b", "unread")),
        Operator("n3", "Gemm", "two", ("b", "c"), ("c",)),
        Operator("n4", "Relu", "two", ("c",), ("d",)),
    )
    for kept in range(1, 6):
        some = operators[:kept]
        assert list(localise.references(some, capture)) == list(plainly(some, capture))


class Inference(nn.Module):
    """Works in place, on what was made in inference mode or not."""

    def __init__(self, *, inference: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.ReLU(inplace=True)
        self.inference = inference

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(self.inference):
            return self.second(self.first(x - 1))


@pytest.mark.parametrize("inference", [False, True])
def test_a_tensor_is_kept_once_until_it_is_changed_in_place(inference: bool) -> None:
    capture = localise.Capture(Inference(inference=inference), torch.zeros(3))
    assert capture.outputs["first"].tolist() == capture.inputs["second"].tolist() == [-1, -1, -1]
    assert capture.outputs["second"].tolist() == [0, 0, 0]
    assert (capture.outputs["first"] is capture.inputs["second"]) is not inference
    # One tensor all the time: who made it is told by who changed it last.
    assert capture.makers_of_inputs["second"] == capture.makers_of_outputs["second"]
