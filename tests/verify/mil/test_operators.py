"""Every family of operators: PyTorch modules, converted, saved and executed, against eager."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mvdeploy.engines import SessionRequest
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil

with quiet(errors=True):
    import coremltools as ct

MIN_SNR_DB = 45.0
THREE, FOUR = (2, 6, 5), (2, 6, 4, 6)
OLD = {THREE: ct.target.iOS15, FOUR: ct.target.iOS16}
"""The oldest target that has the operators; pixel_unshuffle came with iOS16."""


class Formula(nn.Module):
    def __init__(self, formula: Callable[..., Any], parts: nn.ModuleList) -> None:
        super().__init__()
        self.formula = formula
        self.parts = parts

    def forward(self, x: torch.Tensor) -> Any:
        return self.formula(x, *self.parts)


@dataclasses.dataclass(frozen=True)
class Family:
    formula: Callable[..., Any]
    shape: tuple[int, ...]
    uses: str
    """MIL operators that the converted programs must have."""
    parts: tuple[Callable[[], nn.Module], ...] = ()


def _norm() -> nn.Module:
    norm = nn.BatchNorm2d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def _attend(x: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(x, x.flip(-1), x * 2)


def _norm_channels(x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(1, keepdim=True) + 1e-5)


def _pairwise(x: torch.Tensor) -> torch.Tensor:
    y = x.roll(1, -1).abs() + 0.5
    return torch.maximum(x, y) - torch.minimum(x / y, x) + y ** x.abs()


def _roots(x: torch.Tensor) -> torch.Tensor:
    y = x.square() + 0.5
    return y.sqrt() + y.rsqrt() + y.log() + x.exp()


FAMILIES = {
    "conv": Family(
        lambda x, a, b: b(a(x)),
        FOUR,
        "conv",
        (
            lambda: nn.Conv2d(6, 4, 3, stride=2, padding=(1, 0), bias=False),
            lambda: nn.Conv2d(4, 8, 3, dilation=2, padding=2, groups=4),
        ),
    ),
    "conv1d": Family(lambda x, a: a(x), THREE, "conv", (lambda: nn.Conv1d(6, 4, 3, padding=1),)),
    "conv_transpose": Family(
        lambda x, a, b, c: a(x).mean() + b(x).mean() * c(x),
        FOUR,
        "conv_transpose crop",
        (
            lambda: nn.ConvTranspose2d(6, 6, 2, stride=2, groups=6),
            lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, bias=False),
            lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, dilation=2),
        ),
    ),
    "linear": Family(lambda x, a: a(x), THREE, "linear", (lambda: nn.Linear(5, 4),)),
    "matmul": Family(lambda x: x @ x.transpose(1, 2) @ x, THREE, "matmul"),
    "einsum": Family(lambda x: torch.einsum("bchq,bkhc->bkhq", x, x), FOUR, "einsum"),
    "softmax": Family(lambda x: (x * 3).softmax(1) + x.softmax(-1), THREE, "softmax"),
    "layer_norm": Family(lambda x, a: a(x), THREE, "layer_norm", (lambda: nn.LayerNorm(5),)),
    "layer_norm_of_channels": Family(_norm_channels, FOUR, "reduce_mean rsqrt pow"),
    "group_norm": Family(lambda x, a: a(x), FOUR, "real_div sqrt", (lambda: nn.GroupNorm(2, 6),)),
    "batch_norm": Family(lambda x, a: a(x.relu()), FOUR, "batch_norm", (_norm,)),
    "scale_and_shift": Family(
        lambda x: x.relu() * torch.arange(1, 7).reshape(1, 6, 1, 1) + 0.5, FOUR, "mul"
    ),
    "instance_norm": Family(
        lambda x, a: a(x), FOUR, "instance_norm", (lambda: nn.InstanceNorm2d(6),)
    ),
    "attention": Family(_attend, FOUR, "softmax scaled_dot_product_attention"),
    "activations": Family(
        lambda x: F.silu(x) + F.relu(x) - torch.sigmoid(x) + torch.tanh(x) * torch.erf(x),
        THREE,
        "silu relu sigmoid tanh erf",
    ),
    "other_activations": Family(
        lambda x: F.leaky_relu(x, 0.1) + F.elu(x, 0.7) + F.relu6(x * 9) + F.softplus(x),
        THREE,
        "leaky_relu elu relu6 softplus",
    ),
    "hard": Family(lambda x: F.hardswish(x * 4) + F.hardsigmoid(x * 4), THREE, "thresholded_relu"),
    "gelu": Family(lambda x: F.gelu(x), THREE, "gelu"),
    "prelu": Family(lambda x: F.prelu(x, torch.linspace(-0.5, 2, 6)), FOUR, "prelu"),
    "clip": Family(lambda x: x.clamp(-0.5, 0.7), THREE, "clip"),
    "pairwise": Family(_pairwise, THREE, "maximum minimum real_div pow sub add"),
    "roots": Family(_roots, THREE, "sqrt rsqrt log exp"),
    "rounding": Family(
        lambda x: (x * 4).floor() + (x * 4).ceil() - (x * 4).round() + x.sign() * x.abs(),
        THREE,
        "floor ceil round sign abs",
    ),
    "select": Family(
        lambda x: torch.where(x > 0.2, x, x * 3) + (x <= 0).to(x.dtype), THREE, "select greater"
    ),
    "reductions": Family(
        lambda x: x.mean((2, 3)) + x.sum((2, 3)) + x.amax((2, 3)) - x.amin((2, 3)),
        FOUR,
        "reduce_mean reduce_sum reduce_max reduce_min",
    ),
    "logsumexp": Family(lambda x: x.logsumexp(1), THREE, "reduce_log_sum_exp"),
    "argmax": Family(lambda x: x.argmax(-1) + 0.5, THREE, "reduce_argmax"),
    "patches": Family(
        lambda x: x.reshape(2, 6, 2, 2, 3, 2).permute(0, 3, 5, 2, 4, 1).reshape(8, 6, 6) * 2,
        FOUR,
        "reshape transpose",
    ),
    "pixels": Family(
        lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2).relu(), 2),
        FOUR,
        "pixel_shuffle pixel_unshuffle",
    ),
    "split_and_join": Family(
        lambda x: torch.cat([part * i for i, part in enumerate(x.split((1, 2, 3), 1))], 1),
        THREE,
        "split concat",
    ),
    "stack": Family(lambda x: torch.stack([x, x * 2], 1).relu(), THREE, "stack"),
    "slices": Family(
        lambda x: x[:, 1:-1, ::2] * 2 + x[:, 0:1, 3:4] + x[:, -1, 1].reshape(2, 1, 1),
        THREE,
        "slice_by_index",
    ),
    "squeezes": Family(
        lambda x: (x[:, :1].unsqueeze(1).relu() + x[:, :1].unsqueeze(-2)).squeeze(1).relu(),
        THREE,
        "expand_dims squeeze",
    ),
    "gather": Family(lambda x: x.relu()[:, torch.tensor([3, 0, 3])], THREE, "gather"),
    "tile": Family(lambda x: x.repeat(1, 2, 3).relu(), THREE, "tile"),
    "flip": Family(lambda x: x.flip(1, 2) + x, THREE, "reverse"),
    "pad": Family(lambda x: F.pad(x, (1, 2, 0, 3), value=0.5).relu(), FOUR, "pad"),
    "reflect": Family(lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect").relu(), FOUR, "pad"),
    "replicate": Family(lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate").relu(), FOUR, "pad"),
    "max_pool": Family(lambda x: F.max_pool2d(x - 5, 3, 2, padding=1), FOUR, "max_pool"),
    "avg_pool": Family(
        lambda x: (
            F.avg_pool2d(x, 3, 2, padding=1)
            + F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
        ),
        FOUR,
        "avg_pool",
    ),
    "resize": Family(
        lambda x: (
            F.interpolate(x, (9, 12), mode="bilinear", align_corners=False)
            + F.interpolate(x, (9, 12), mode="bilinear", align_corners=True)
        ),
        FOUR,
        "upsample_bilinear",
    ),
    "resize_down": Family(
        lambda x: F.interpolate(x, (3, 5), mode="bilinear", align_corners=False),
        FOUR,
        "upsample_bilinear",
    ),
    "nearest": Family(
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        FOUR,
        "upsample_nearest_neighbor",
    ),
}


def _group(shape):
    return {name: family for name, family in FAMILIES.items() if family.shape == shape}


class Together(nn.Module):
    """All families that take one shape, so that they are converted at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            Formula(family.formula, nn.ModuleList([part() for part in family.parts]))
            for family in _group(shape).values()
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(member(x) for member in self.members)


@dataclasses.dataclass(frozen=True)
class Results:
    wanted: dict[str, Any]
    exact: dict[str, Any]
    halves: dict[str, Any]
    types: set[str]


@pytest.fixture(scope="module")
def results(save):
    """Return a function that runs all families of a shape, in both precisions."""

    @functools.cache
    def run(shape):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Together(shape).eval()
            x = torch.randn(shape).half().float()  # so that rounding is the same in halves
        with quiet(errors=True), torch.no_grad():
            wanted = {n: y.double().numpy() for n, y in zip(_group(shape), network(x), strict=True)}
            exported = torch.export.export(network, (x,)).run_decompositions({})
        exact, types = _executed(save, exported, x, OLD[shape], ct.precision.FLOAT32)
        halves, more = _executed(save, exported, x, ct.target.iOS18, ct.precision.FLOAT16)
        return Results(wanted, exact, halves, types | more)

    return run


def _executed(save, exported, x, target, precision):
    path = save(
        exported,
        inputs=[ct.TensorType(name="x", shape=tuple(x.shape))],
        outputs=[ct.TensorType(name=f"out_{name}") for name in _group(tuple(x.shape))],
        minimum_deployment_target=target,
        compute_precision=precision,
    )
    session = mil.open_session(SessionRequest(path, {"x": x.numpy()}))
    session.infer()
    outputs = {name.removeprefix("out_"): value for name, value in session.outputs().items()}
    return outputs, {operation.type for operation in mil.operations(path)}


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name, results):
    family = FAMILIES[name]
    found = results(family.shape)
    assert set(family.uses.split()) <= found.types
    wanted, exact, halves = found.wanted[name], found.exact[name], found.halves[name]
    assert (exact.dtype, halves.dtype) == (np.float32, np.float16)
    np.testing.assert_allclose(exact, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert snr_db(halves, wanted) >= MIN_SNR_DB


def snr_db(got, wanted):
    noise = np.square(got.astype(np.float64) - wanted).sum()
    return np.inf if noise == 0 else 10 * np.log10(np.square(wanted).sum() / noise)


def test_attention_stays_one_operator_from_ios18(save):
    x = torch.zeros(1, 2, 5, 8)
    network = Formula(_attend, nn.ModuleList()).eval()
    path = save(network, (x,), minimum_deployment_target=ct.target.iOS18)
    assert "scaled_dot_product_attention" in {o.type for o in mil.operations(path)}
