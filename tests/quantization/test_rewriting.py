from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.export import ExportedProgram

from mvdeploy.errors import UsageError
from mvdeploy.quantization import Scheme, Target, places, rewriting, running
from mvdeploy.quantization.calibration import Calibration
from mvdeploy.quantization.emulation import Emulation, weights_of
from mvdeploy.quantization.quantiser import Quantiser
from mvdeploy.records.quantized import Scale

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, of torch
Traced = Callable[[str], ExportedProgram]
XNNPACK = Target(others=("add", "mul", "cat", "silu"), one_scale=True)
ONNX = Target(unsigned=True)
IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def quantiser(target: Target = ONNX, kept: tuple[str, ...] = (), **scheme: bool) -> Quantiser:
    calibration = Calibration(lambda: [(IMAGE,), (IMAGE * 0.5,)], "noise", "min-max")
    return Quantiser(Scheme(**scheme), target, kept, calibration)


@given(st.integers(0, 1000), st.floats(1e-20, 1e20))
def test_weights_come_back_within_half_a_step_of_their_channel(seed: int, size: float) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed)) * size
    weight[2] = 0
    numbers, scale = rewriting.whole(weight)
    assert numbers.dtype == torch.int8
    assert int(numbers.abs().max()) == 127
    steps = scale.reshape(-1, 1, 1, 1)
    assert ((numbers * steps - weight).abs() <= steps * 0.5001).all()
    assert not numbers[2].any()
    assert scale[2] == scale.max()


def test_a_bias_fits_into_32_bits(traced: Traced) -> None:
    program = traced("big_bias")
    done = quantiser()(program)
    emulation = Emulation(done, weights_of(program))
    exact = emulation.constants()["conv.bias"].double()
    held = weights_of(done)
    fed = next(n for n in done.graph.nodes if n.target in rewriting.DEQUANTIZE).args[1]
    back = exact * held["conv.weight_int8_scale"].double() * fed
    assert torch.allclose(back, torch.ones(8, dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("name", ["plain", "joined", "tied", "both_read", "in_place", "silus"])
@pytest.mark.parametrize("target", [ONNX, XNNPACK])
def test_names_stay_and_emulation_is_torchs_own(traced: Traced, name: str, target: Target) -> None:
    program = traced(name)
    before = [n.name for n in program.graph.nodes]
    made = quantiser(target, everything=True)
    done = made(program)
    assert [n.name for n in program.graph.nodes] == before
    weights = {n.args[1].name for n in program.graph.nodes if places.kind(n)}
    assert set(before) - {n.name for n in done.graph.nodes} <= weights | {
        n.name for n in program.graph.nodes if n.target in places._SILU
    }
    exact = running.run(done, (IMAGE,))
    emulated = Emulation(done, weights_of(program)).outputs((IMAGE,))
    for wanted, got in zip(exact, emulated, strict=True):
        assert torch.equal(wanted, got)
    floats = Emulation(done, weights_of(program)).outputs((IMAGE,), lambda _: False)
    for wanted, got in zip(running.run(program, (IMAGE,)), floats, strict=True):
        assert torch.allclose(wanted, got, atol=1e-5)


def test_what_a_concatenation_joins_has_one_scale(traced: Traced) -> None:
    made = quantiser(Target(one_scale=True))
    made(traced("joined"))
    assert made.quantized is not None
    scales = made.quantized.scales
    alike = {scales[name] for name in ("relu", "conv2d_1", "conv2d_2", "cat")}
    assert len(alike) == 1
    free = quantiser(Target())
    free(traced("joined"))
    assert free.quantized is not None
    assert len({free.quantized.scales[n] for n in ("relu", "conv2d_1", "conv2d_2")}) == 3


def test_a_weight_that_is_read_twice_is_held_once(traced: Traced) -> None:
    done = quantiser()(traced("tied"))
    held = [n for n in done.state_dict if n.endswith("_int8")]
    assert sorted(held) == ["a.weight_int8", "b.weight_int8", "head.weight_int8"]
    assert "head.weight" in done.state_dict  # it is read in float as well
    assert "b.weight" not in done.state_dict


def test_clamps_go_with_what_is_before_them(traced: Traced) -> None:
    made = quantiser()
    made(traced("clamped"))
    assert made.quantized is not None
    assert {"relu6", "hardtanh"} & set(made.quantized.scales) or "conv2d" not in (
        made.quantized.scales
    )


def test_what_is_kept_stays(traced: Traced) -> None:
    made = quantiser(kept=("con?",))
    done = made(traced("plain"))
    assert made.quantized is not None
    assert made.quantized.weighted == ("linear",)
    assert "conv.weight" in done.state_dict


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        ("plain", ("nothing",), "No module of the network is called 'nothing'."),
        ("plain", ("*",), "Nothing in the network can be computed in whole numbers."),
        ("rounded_only", (), "Nothing in the network can be computed in whole numbers."),
        ("only_convolution_3d", (), "Nothing in the network can be computed in whole numbers."),
    ],
)
def test_what_cannot_be_is_refused(
    traced: Traced, name: str, kept: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        quantiser(kept=kept)(traced(name))
    assert caught.value.message == message


def test_numbers_that_are_not_finite_are_refused_in_one_sentence(traced: Traced) -> None:
    with pytest.raises(UsageError) as caught:
        quantiser()(traced("infinite"))
    assert "\n" not in str(caught.value)
    assert "computes numbers that are not finite" in caught.value.message


def test_scales_that_are_missing_are_named(traced: Traced) -> None:
    made = quantiser()
    made(traced("plain"))
    known = made.quantized
    assert known is not None
    scales = {"relu_9": Scale(1.0, 0)}
    other = Quantiser(Scheme(), ONNX, (), None, type(known)(known.weighted, (), scales))
    with pytest.raises(UsageError, match="there is none for '"):
        other(traced("plain"))
