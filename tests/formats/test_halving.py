"""Programs of ONNX and ExecuTorch in half precision, run by their engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mvdeploy import formats, precisions
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.formats import Written, _halving, _held_weights
from mvdeploy.formats import executorch as executorch_format
from mvdeploy.formats.executorch import half
from mvdeploy.formats.executorch.backends import xnnpack
from mvdeploy.precisions import fp16
from tests.formats.subjects import subject

with executorch_format.quiet():  # ExecuTorch warns of its own imports
    from executorch.backends.xnnpack.operators import node_visitor
    from executorch.backends.xnnpack.partition.config import generic_node_configs
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

FACTS = {"mvdeploy.model": "tiny"}
FORMATS = ("onnx", "executorch")


def write(name: str, folder: Path, network: nn.Module, x: Tensor) -> tuple[Path, Written]:
    given = dataclasses.replace(subject(network, x, FACTS), halves=True)
    options = formats.complete(name, formats.options(name, precision="fp16"))
    path = folder / f"a{formats.suffix(name)}"
    return path, formats.get(name).write(given, path, options)


def run(path: Path, x: Tensor) -> Tensor:
    """Return what a file makes of a float32 tensor: float32."""
    if path.suffix == ".pte":
        (found,) = _load_for_executorch(str(path)).run_method("forward", (x,))
    else:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
    assert found.dtype is torch.float32
    return found


def computed(name: str, folder: Path, network: nn.Module, x: Tensor) -> Tensor:
    path, _ = write(name, folder, network, x)
    return run(path, x)


def snr_db(network: nn.Module, x: Tensor, found: Tensor) -> float:
    with torch.inference_mode():
        exact = network.double()(x.double())
    network.float()
    return 10 * float(torch.log10(exact.square().sum() / (exact - found).square().sum()))


class Mixed(nn.Module):
    """What is written in other ways in half: SiLU, GELU, norms, means, softmax, a constant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.group = nn.GroupNorm(2, 8)
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 8, bias=False)
        for each in (self.group, self.norm):
            nn.init.normal_(each.weight)
            nn.init.normal_(each.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(functional.gelu(self.depthwise(functional.silu(self.conv(x)))))
        x = self.norm(x.flatten(2).transpose(1, 2))
        x = x + torch.arange(8, dtype=torch.float32) / 8
        return torch.softmax(self.fc(x), -1).mean(1)


@pytest.mark.parametrize("name", FORMATS)
def test_it_computes_what_the_network_does(name: str, tmp_path: Path) -> None:
    network, x = Mixed().eval(), torch.rand(1, 3, 6, 5)
    path, written = write(name, tmp_path, network, x)
    assert snr_db(network, x, run(path, x)) > 50
    assert {"conv", "depthwise", "group", "norm", "fc", ""} <= {o.module for o in written.operators}
    if written.delegation is not None:
        assert written.delegation.full
        assert (
            _held_weights.missing(
                network, executorch_format.held_weights(path), fp16.PRECISION.stored, {}
            )
            == ()
        )
    else:
        held = formats.get(name).held_weights(path)
        assert _held_weights.missing(network, held, fp16.PRECISION.stored, {}) == ()
        weights = onnx.load(path).graph.initializer
        assert {w.data_type for w in weights} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}


class Kept(nn.Module):
    """Divides by what half precision has not, with a weight of its own, outside of autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.tiny = nn.Parameter(torch.full((4,), 1e-12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        with torch.autocast("cpu", enabled=False):
            x = x / (x * x + self.tiny)
        return self.after(x)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_kept_out_of_mixed_precision_stays_float32(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Kept().eval()
    path, written = write(name, tmp_path, network, torch.zeros(2, 4))
    assert torch.isfinite(run(path, torch.zeros(2, 4))).all()
    x = torch.rand(2, 4) + 1
    assert snr_db(network, x, run(path, x)) > 45
    assert written.delegation is None or written.delegation.full


class Nested(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x = x * 2
            with torch.autocast("cpu", enabled=False):
                return x * 3


class Conditional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("network", "message"),
    [(Nested(), "disables autocast within a region"), (Conditional(), "holds a graph of its own")],
)
def test_what_is_not_written_is_refused(
    name: str, network: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        write(name, tmp_path, network, torch.rand(2, 4))
    assert "--precision fp32" in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


class Large(nn.Module):
    """Activations whose squares half precision has not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.norm = nn.Linear(16, 16), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(5000 * self.fc(x))
        length = torch.linalg.vector_norm(4000 * self.fc(x), dim=-1, keepdim=True)
        return y + length / 4000 + torch.softmax(5000 * self.fc(x), -1)


@pytest.mark.parametrize("name", FORMATS)
def test_squares_of_large_activations_do_not_overflow(name: str, tmp_path: Path) -> None:
    network, x = Large().eval(), torch.randn(3, 16)
    assert snr_db(network, x, computed(name, tmp_path, network, x)) > 45


def test_otherwise_they_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xnnpack, "HALF", dataclasses.replace(xnnpack.HALF, float32=()))
    x = torch.randn(3, 16)
    found = computed("executorch", tmp_path, Large().eval(), x)
    # Infinite deviations: nothing is left of what was normalised.
    assert not snr_db(Large().eval(), x, found) > 45


class Returning(nn.Module):
    """Returns in float32 what it is given, what it computed from sizes, and a float64."""

    def forward(self, x: Tensor) -> Tensor:
        counted = torch.arange(4097.0, 4101.0) - 4096
        return x.float() * counted + torch.ones(x.shape[0], 1, dtype=torch.float32)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_counted_is_exact_and_types_that_are_asked_for_follow(
    name: str, tmp_path: Path
) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, 0.25, 2.0, 8.0]])
    found = computed(name, tmp_path, Returning().eval(), x)
    assert torch.equal(found, Returning()(x))


def test_any_number_of_images_can_be_fed(tmp_path: Path) -> None:
    network, x = Mixed().eval(), torch.rand(2, 3, 6, 5)
    given = subject(network, x, FACTS)
    free = [dataclasses.replace(t, shape=("batch", *t.shape[1:])) for t in given.inputs]
    given = dataclasses.replace(given, halves=True, inputs=tuple(free))
    options = formats.options("onnx", precision="fp16", dynamic_batch=True)
    path = tmp_path / "a.onnx"
    formats.get("onnx").write(given, path, formats.complete("onnx", options))
    several = torch.rand(5, 3, 6, 5)
    assert snr_db(network, several, run(path, several)) > 50


def test_the_program_rounds_as_the_model_of_rounding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU()).eval()
    x = torch.rand(64, 4)
    with fp16.rounding(network) as rounded, torch.inference_mode():
        expected = rounded(x)
    found = computed("executorch", tmp_path, network, x)
    assert torch.equal(found, found.half().float())
    np.testing.assert_allclose(found, expected, atol=2**-10)


# What can be asked for


def test_both_formats_offer_it_and_stay_as_they_were_without() -> None:
    for name in FORMATS:
        assert "fp16" in formats.precisions_of(name)
        assert formats.precision(name, formats.Options()) == "fp32"
    assert "fp16" not in formats.precisions_of("pytorch")
    assert precisions.get("fp16").halves
    assert not any(precisions.get(n).halves for n in precisions.names() if n != "fp16")


@pytest.mark.parametrize("backend", ["portable", "vulkan", "coreml"])
def test_other_backends_are_refused(backend: str) -> None:
    options = formats.options("executorch", {"backend": backend}, precision="fp16")
    with pytest.raises(UsageError, match=f"backend {backend} is given no programs in fp16"):
        formats.check_options("executorch", options)


# ExecuTorch


def test_what_was_changed_of_executorch_comes_back() -> None:
    def state() -> list[object]:
        convolution = node_visitor._node_visitor_dict["aten.convolution.default"]
        return [
            dict(node_visitor._node_visitor_dict),
            generic_node_configs.ToDimOrderCopyConfig.__dict__["check_constraints"],
            convolution.__dict__.get("define_tensor"),
        ]

    before = state()
    with pytest.raises(KeyboardInterrupt), half.conversions():
        assert state() != before
        raise KeyboardInterrupt
    assert state() == before


def test_another_version_of_executorch_is_an_engine_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(generic_node_configs, "ToDimOrderCopyConfig")
    with pytest.raises(EngineError, match="This version of ExecuTorch"):
        write("executorch", tmp_path, Large(), torch.rand(1, 16))


def test_a_program_without_weights_or_constants_is_left_in_order() -> None:
    program = torch.export.export(nn.ReLU(), (torch.rand(2, 3),)).run_decompositions({})
    _halving.prepare(program, ())
    halved = _halving.halve(program)
    called = [str(n.target) for n in halved.graph.nodes if n.op == "call_function"]
    assert called == ["aten._to_copy.default", "aten.relu.default", "aten._to_copy.default"]
    x = torch.randn(2, 3)
    assert torch.equal(halved.module()(x), x.half().relu().float())
