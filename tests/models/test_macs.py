"""Counts against the published tables, torch's own counter, and arithmetic by hand."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mvdeploy import models, passes
from mvdeploy.models import macs
from mvdeploy.models.families.mobilevit.network import MobileViT
from mvdeploy.models.macs import Kind
from mvdeploy.records import PatchSize

# The tables: exact totals, and millions to three digits for each stage.

FILE = Path(__file__).parent.parent / "data" / "macs.txt"
HEAD = re.compile(r"(\w+) (\w+) \((\d), (\d), (\d)\) params (\d+) MACs (\d+)")
ROW = re.compile(r"(\w+) (\d+) ([\d.]+)")


def tables() -> list[Any]:
    found = []
    for line in FILE.read_text().splitlines():
        if head := HEAD.fullmatch(line):
            variant, rule, *numbers = head.groups()
            patches, total = tuple(map(int, numbers[:3])), int(numbers[4])
            rows: dict[str, str] = {}
            case = (f"mobilevit_{variant}", rule, patches, total, rows)
            found.append(pytest.param(*case, id=f"{variant}-{rule}-{patches}"))
        else:
            rows.update((name, millions) for name, _, millions in ROW.findall(line))
    return found


def test_the_tables_are_read() -> None:
    assert len(tables()) == 15
    assert sum(len(case.values[4]) for case in tables()) == 9 * 8


def on_meta(network: nn.Module, patches: tuple[int, ...]) -> nn.Module:
    network = copy.deepcopy(network).to("meta")
    assert isinstance(network, MobileViT)
    network.set_patches([PatchSize(side, side) for side in patches])
    return network


@pytest.mark.parametrize(("model", "rule", "patches", "total", "rows"), tables())
def test_published_counts(
    built, model: str, rule: str, patches: tuple[int, ...], total: int, rows: dict[str, str]
) -> None:
    network = on_meta(built(model), patches)
    counted = macs.observe(network, torch.empty(1, 3, 256, 256, device="meta"))
    if rule == "cvnets01":
        counted = macs.by_cvnets(counted)
    assert counted.total == total
    assert {name: f"{counted.under(name) / 1e6:.3f}" for name in rows} == rows
    assert sum(counted.under(name) for name, _ in network.named_children()) == total
    assert counted.uncounted == ()


def test_the_log_of_cvnets_to_the_digit(built) -> None:
    counted = macs.observe(built(), torch.zeros(1, 3, 256, 256))
    assert counted.total == 408_985_064
    log = macs.by_cvnets(counted)
    rows = " ".join(f"{log.under(name) / 1e6:.3f}" for name, _ in built().named_children())
    assert rows == "7.078 21.496 35.127 162.316 103.555 32.692 1.638 0.321"
    assert f"{log.total / 1e6:.3f}" == "364.224"


@pytest.mark.parametrize("shape", [(1, 3, 96, 96), (2, 3, 64, 96)])
def test_torchs_counter_agrees_but_for_biases(built, shape: tuple[int, ...]) -> None:
    network, example = built(), torch.zeros(shape)
    counted = macs.observe(network, example)
    linear = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    biases = sum(
        call.output[0] * linear[call.module].out_features * torch.Size(call.output[1:-1]).numel()
        for call in counted.calls
        if call.module in linear
    )
    assert counted.total - biases == flops(network, example) // 2


def test_folding_does_not_change_the_count(built) -> None:
    example = torch.zeros(1, 3, 64, 64)
    folded, reports = passes.apply(built(), example, ("fold_batchnorm",))
    assert reports[0].changed
    assert macs.count(folded, example) == macs.count(built(), example)


def test_a_batch_costs_its_images(built) -> None:
    one, three = (macs.count(built(), torch.zeros(n, 3, 64, 64)) for n in (1, 3))
    assert three == 3 * one


# Single operations, by hand


class Apply(nn.Module):
    """A function as a network."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def attend(x: Tensor, **options: Any) -> Tensor:
    # (2, 5, 8) → four heads of 2
    heads = x.reshape(2, 5, 4, 2).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads, **options)


def few_queries(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x[:, None, :3, :4], x[:, None, :, :4], x[:, None])


def flash(x: Tensor) -> Any:
    heads = x.reshape(2, 5, 4, 2).transpose(1, 2)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(heads, heads, heads)


TOKENS = (2, 5, 8)
SQUARE = torch.rand(8, 8)
BY_HAND = [
    (nn.Conv2d(4, 6, 3), (2, 4, 7, 9), 2 * 5 * 7 * 6 * 4 * 9, Kind.CONVOLUTION),
    (nn.Conv2d(4, 6, (3, 1), stride=2), (1, 4, 7, 9), 3 * 5 * 6 * 4 * 3, Kind.CONVOLUTION),
    (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 7, 9), 5 * 7 * 6 * 2 * 9, Kind.CONVOLUTION),
    (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 7, 9), 5 * 7 * 8 * 9, Kind.CONVOLUTION),
    (nn.Conv2d(4, 4, 3, padding="same"), (1, 4, 7, 9), 7 * 9 * 4 * 4 * 9, Kind.CONVOLUTION),
    (nn.Conv1d(4, 6, 3, dilation=2), (1, 4, 9), 5 * 6 * 4 * 3, Kind.CONVOLUTION),
    (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 8 * 3 * 2 * 8, Kind.CONVOLUTION),
    (
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
        (1, 4, 5, 7),
        5 * 7 * 4 * 3 * 9,
        Kind.CONVOLUTION,
    ),
    (nn.Linear(8, 3), TOKENS, 10 * (8 * 3 + 3), Kind.LINEAR),
    (nn.Linear(8, 3, bias=False), TOKENS, 10 * 8 * 3, Kind.LINEAR),
    (nn.Linear(8, 3), (8,), 8 * 3 + 3, Kind.LINEAR),
    (Apply(lambda x: torch.addmm(SQUARE[0], x, SQUARE)), (5, 8), 5 * (64 + 8), Kind.LINEAR),
    (Apply(lambda x: torch.addmm(x, x, SQUARE)), (5, 8), 5 * 64, Kind.LINEAR),
    (Apply(lambda x: x @ SQUARE), (5, 8), 5 * 64, Kind.LINEAR),
    (Apply(lambda x: SQUARE @ x), (8,), 64, Kind.LINEAR),
    (Apply(lambda x: x @ x), (8,), 8, Kind.LINEAR),
    (Apply(lambda x: x @ x.mT), TOKENS, 2 * 5 * 5 * 8, Kind.PRODUCT),
    (Apply(lambda x: torch.einsum("bnd,bmd->bnm", x, x)), TOKENS, 2 * 5 * 5 * 8, Kind.PRODUCT),
    (
        Apply(lambda x: torch.baddbmm(torch.zeros(2, 5, 5), x, x.mT)),
        TOKENS,
        2 * 5 * 5 * 8,
        Kind.PRODUCT,
    ),
    (
        Apply(lambda x: torch.addbmm(torch.zeros(5, 5), x, x.mT)),
        TOKENS,
        2 * 5 * 5 * 8,
        Kind.PRODUCT,
    ),
    (Apply(attend), TOKENS, 2 * 2 * 5 * 5 * 8, Kind.ATTENTION),
    (Apply(lambda x: attend(x, is_causal=True)), TOKENS, 2 * 2 * 5 * 5 * 8, Kind.ATTENTION),
    (Apply(few_queries), TOKENS, 2 * 3 * 5 * (4 + 8), Kind.ATTENTION),
    (Apply(flash), TOKENS, 2 * 2 * 5 * 5 * 8, Kind.ATTENTION),
]


@pytest.mark.parametrize(("network", "shape", "expected", "kind"), BY_HAND)
def test_by_hand(network: nn.Module, shape: tuple[int, ...], expected: int, kind: Kind) -> None:
    counted = macs.observe(network, torch.rand(shape))
    assert counted.total == expected
    assert [op.kind for op in counted.operations] == [kind]
    assert counted.uncounted == ()


class SelfAttention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 4, batch_first=True)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, x, x, **self.options)[0]
        return out


ATTENTION = 10 * (8 * 24 + 24) + 2 * 2 * 5 * 5 * 8 + 10 * (8 * 8 + 8)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_of_torch_counts_alike_on_every_path(need_weights: bool) -> None:
    network = SelfAttention(need_weights=need_weights)
    assert macs.count(network, torch.rand(TOKENS)) == ATTENTION


def test_the_fused_encoder_layer_is_looked_into() -> None:
    layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=True).eval()
    counted = macs.observe(layer, torch.rand(TOKENS))
    assert counted.total == ATTENTION + 10 * (8 * 16 + 16) + 10 * (16 * 8 + 8)
    assert counted.under("self_attn") == ATTENTION
    assert counted.under("linear1") == 10 * (8 * 16 + 16)


@pytest.mark.parametrize(
    ("network", "shape", "name"),
    [
        (nn.LSTM(8, 4, batch_first=True), TOKENS, "aten.mkldnn_rnn_layer"),
        (Apply(lambda x: F.bilinear(x, x, torch.rand(3, 8, 8))), (5, 8), "aten._trilinear"),
    ],
)
def test_what_has_no_rule_is_named(network: nn.Module, shape: tuple[int, ...], name: str) -> None:
    assert macs.observe(network, torch.rand(shape)).uncounted == (name,)


def test_an_operator_of_another_library_is_named() -> None:
    library = torch.library.Library("mvdeploy_test", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CPU")
    counted = macs.observe(Apply(torch.ops.mvdeploy_test.twice), torch.rand(3))
    assert counted.uncounted == ("mvdeploy_test.twice",)


# The rule of the CVNets log


def test_cvnets_takes_a_product_as_rows_tokens_dim_dim() -> None:
    x = torch.rand(TOKENS)
    product = macs.observe(Apply(lambda x: x @ x.mT), x)
    assert macs.by_cvnets(product).total == 2 * 5 * 8 * 8
    fused = macs.observe(Apply(attend), x)
    assert macs.by_cvnets(fused).total == 2 * (2 * 5 * 8 * 8)


def test_cvnets_counts_all_else_alike() -> None:
    for network, shape, expected, kind in BY_HAND:
        if kind in (Kind.CONVOLUTION, Kind.LINEAR):
            assert macs.by_cvnets(macs.observe(network, torch.rand(shape))).total == expected


# Random networks against torch's counter


def flops(network: nn.Module, example: Tensor) -> int:
    # Without fused attention, which torch's counter does not see on the CPU.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(example)
    return counter.get_total_flops()


class Tokens(nn.Module):
    """(B, C, H, W) → (B, N, C), then attention written in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        match self.way:
            case "fused":
                return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]
            case "matmul":
                return (x @ x.mT).softmax(-1) @ x
            case "einsum":
                return torch.einsum("bnm,bmd->bnd", torch.einsum("bnd,bmd->bnm", x, x), x)
            case _:
                return torch.baddbmm(x, torch.bmm(x, x.mT), x)


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    channels = draw(st.sampled_from([2, 4, 6]))
    shape = (draw(st.integers(1, 2)), channels, draw(st.integers(6, 9)), draw(st.integers(6, 9)))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        out = channels * draw(st.sampled_from([1, 2]))
        groups = draw(st.sampled_from([1, 2, channels]))
        # Padded so that no map vanishes on the way.
        kernel, pad = draw(st.sampled_from([(1, 0), (3, 1), ((1, 3), (0, 1))]))
        kind = draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d]))
        stride, bias = draw(st.integers(1, 2)), draw(st.booleans())
        layers += [kind(channels, out, kernel, stride, pad, groups=groups, bias=bias), nn.SiLU()]
        channels = out
    layers.append(Tokens(draw(st.sampled_from(["fused", "matmul", "einsum", "baddbmm"]))))
    layers += [nn.Linear(channels, 3, bias=False), nn.LayerNorm(3)]
    return nn.Sequential(*layers).eval(), torch.rand(shape)


@given(networks())
@settings(max_examples=60)
def test_random_networks_count_as_torch_has_them(drawn: tuple[nn.Module, Tensor]) -> None:
    network, example = drawn
    counted = macs.observe(network, example)
    assert 2 * counted.total == flops(network, example)
    assert counted.total == sum(counted.under(str(i)) for i in range(len(network)))  # type: ignore[arg-type]
    assert counted.total == macs.count(network.to("meta"), example.to("meta"))


# Whose work it is


class Shares(nn.Module):
    """Calls one layer twice, under two names, and works outside any layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.second = self.first
        self.other = nn.Sequential(nn.Linear(8, 8, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.other(self.second(self.first(x)))
        return x @ x.mT


def test_work_is_put_down_to_the_module_that_did_it() -> None:
    counted = macs.observe(Shares(), torch.rand(TOKENS))
    assert counted.under("first") == 2 * 10 * 64
    assert counted.under("other") == counted.under("other.0") == 10 * 64
    assert counted.under("oth") == 0
    assert counted.total == 3 * 10 * 64 + 2 * 5 * 5 * 8
    assert [call.module for call in counted.calls] == ["", "first", "first", "other", "other.0"]
    assert counted.calls[0] == macs.Call("", TOKENS, (2, 5, 5))


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no")


class Recovers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fails, self.works = nn.Sequential(Fails()), nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.fails(x)
        except ValueError:
            x = self.works(x)
        return x @ x.mT


def test_a_module_that_fails_does_not_take_the_work_of_others() -> None:
    counted = macs.observe(Recovers(), torch.rand(TOKENS))
    assert counted.under("fails") == 0
    assert counted.under("works") == 10 * 64
    assert counted.total == 10 * 64 + 2 * 5 * 5 * 8


# The network stays as it was


def test_the_network_stays_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    network.train()
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    macs.count(network, torch.rand(2, 3, 8, 8))
    assert [m.training for m in network.modules()] == [True, True, False, True]
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_switches_of_torch_are_put_back_after_an_error() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ValueError, match="no"):
        macs.count(Fails(), torch.rand(3))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_same_however_the_network_is_built() -> None:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    example = torch.zeros(1, 3, 64, 64)
    training = models.build(spec).train()
    assert macs.count(training, example) == macs.count(training.eval(), example)
