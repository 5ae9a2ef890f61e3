from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.models import stages
from mvdeploy.models.families.mobilevit.network import MobileViT, Unfold
from mvdeploy.models.stages import Description
from mvdeploy.records import Level, ModelSpec, PatchSize
from mvdeploy.records.spec import parse_patches

NO_SPEC = ModelSpec("test", (), (8, 8))
STAGES = ["conv_1", *(f"layer_{i}" for i in range(1, 6)), "conv_1x1_exp", "classifier"]


def described(network: nn.Module, config: str, size: tuple[int, int] = (256, 256)) -> Description:
    network = copy.deepcopy(network).to("meta")
    assert isinstance(network, MobileViT)
    network.set_patches(parse_patches(config))
    spec = models.make_spec("mobilevit_xxs", patches=parse_patches(config), image_size=size)
    return stages.describe(network, spec, torch.empty(1, 3, *size, device="meta"))


# Parameters of every stage, as in tests/data/macs.txt.
PARAMETERS = (464, 1472, 7696, 139_888, 341_824, 433_440, 26_240, 321_000)


def test_the_table_of_xxs(built) -> None:
    found = described(built(), "8,4,2")
    assert [stage.name for stage in found.stages] == STAGES
    assert tuple(stage.parameters for stage in found.stages) == PARAMETERS
    assert found.totals == stages.Totals(1_272_024, 338_206_184, 364_223_976)
    sides = zip((16, 16, 24, 48, 64, 80, 320), (128, 128, 64, 32, 16, 8, 8), strict=True)
    assert [s.output for s in found.stages] == [*((1, c, n, n) for c, n in sides), (1, 1000)]
    unfoldings = [s.unfolding for s in found.stages[3:6]]
    assert [(u.tokens, u.pixels, u.kernel) for u in unfoldings if u] == [
        (16, 64, (3, 3)),
        (16, 16, (3, 3)),
        (16, 4, (3, 3)),
    ]
    assert [s.name for s in found.stages if s.unfolding is None] == STAGES[:3] + STAGES[6:]


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ("2,2,2", (256, 64, 16)),
        ("3,3,3", (121, 36, 9)),
        ("4x2,2,2", (128, 64, 16)),
    ],
)
def test_tokens_are_patches_of_the_resized_map(built, config: str, tokens: tuple[int, ...]) -> None:
    found = described(built(), config)
    assert tuple(s.unfolding.tokens for s in found.stages if s.unfolding) == tokens


def test_stages_add_up(built) -> None:
    found = described(built(), "3,3,3", (240, 200))
    assert sum(s.macs for s in found.stages) == found.totals.macs
    assert sum(s.macs_cvnets for s in found.stages) == found.totals.macs_cvnets
    assert sum(s.parameters for s in found.stages) == found.totals.parameters


# Findings


def test_config_a_has_nothing_to_say(built) -> None:
    found = described(built(), "2,2,2")
    assert found.findings == ()
    assert {c.min for c in found.coverage.values()} == {1}


def test_patches_larger_than_the_kernel_are_found(built) -> None:
    found = described(built(), "8,4,2")
    assert list(found.coverage) == ["layer_3", "layer_4", "layer_5"]
    assert [(f.code, f.level, f.values["stage"]) for f in found.findings] == [
        ("patch_exceeds_kernel", Level.WARNING, "layer_3"),
        ("patch_exceeds_kernel", Level.WARNING, "layer_4"),
    ]
    values = found.findings[0].values
    assert (values["patch"], values["kernel"]) == ("8x8", "3x3")
    # A line of the map is reached by 11 or 12 of 32: see the patches of 8 in test_coverage.
    assert values["mean"] == pytest.approx((94 / 8 / 32) ** 2)
    assert values["min"] == pytest.approx((11 / 32) ** 2)
    assert "MobileViT paper" in str(values["source"])


@pytest.mark.parametrize(("config", "larger"), [("4x2,2,2", True), ("3x2,2,2", False)])
def test_one_side_that_is_larger_is_enough(built, config: str, larger: bool) -> None:
    codes = [f.code for f in described(built(), config, (288, 288)).findings]
    assert codes == (["patch_exceeds_kernel"] if larger else ["edge_out_of_reach"])


def test_the_kernel_is_the_modules_own(built) -> None:
    network = copy.deepcopy(built())
    network.layer_3[1].local.conv = nn.Conv2d(48, 48, 7, padding=3)
    network.layer_4[1].local.conv = nn.Conv2d(64, 64, 3, padding="same", dilation=2)
    found = described(network, "8,4,2")
    kernels = [s.unfolding.kernel for s in found.stages if s.unfolding]
    assert kernels == [(7, 7), (5, 5), (3, 3)]
    shares = [found.coverage[name].mean for name in ("layer_3", "layer_4")]
    plain = described(built(), "8,4,2").coverage
    assert shares[0] > 4 * plain["layer_3"].mean
    # A dilated window of three reads every other pixel: rows of two places in four.
    assert shares[1] == pytest.approx(0.25, abs=0.2)
    assert shares[1] != plain["layer_4"].mean
    codes = [(f.code, f.values["stage"]) for f in found.findings]
    assert codes[0] == ("patch_exceeds_kernel", "layer_3")
    assert codes[1] == ("edge_out_of_reach", "layer_4")


def test_work_that_no_rule_counts_is_found() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 4))
    found = stages.describe(network, NO_SPEC, torch.rand(2, 3, 8))
    assert [f.code for f in found.findings] == ["uncounted_operators"]
    assert found.findings[0].values == {"operators": "aten.mkldnn_rnn_layer"}
    assert [s.macs for s in found.stages] == [2 * 3 * (64 + 8), 0]


# Networks of other shapes


class Around(nn.Module):
    """A network with an encoder that has several stages, and work and weights of its own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.scale = nn.Parameter(torch.ones(10, 10))
        self.unused = nn.Dropout()
        self.idle = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.encoder(x) @ self.scale
        return out


def test_an_encoder_is_shown_stage_by_stage_and_the_rest_apart(built) -> None:
    network = Around(copy.deepcopy(built(classes=10)))
    found = stages.describe(network, NO_SPEC, torch.rand(2, 3, 64, 64))
    names = [f"encoder.{name}" for name in STAGES]
    assert [s.name for s in found.stages] == [*names, "idle", "(network)"]
    assert [s.parameters for s in found.stages[-2:]] == [9, 100]
    assert [s.macs for s in found.stages[-2:]] == [0, 2 * 10 * 10]
    assert found.stages[-2].output == ()
    assert list(found.coverage) == names[3:6]
    assert found.totals.parameters == models.parameter_count(network)


def test_shared_and_frozen_parameters_are_counted_once_and_not_at_all() -> None:
    first, second, third = (nn.Linear(4, 4, bias=False) for _ in range(3))
    second.weight = first.weight
    third.weight.requires_grad = False
    network = nn.Sequential(first, second, third)
    found = stages.describe(network, NO_SPEC, torch.rand(1, 4))
    assert [s.parameters for s in found.stages] == [16, 0, 0]
    assert found.totals.parameters == models.parameter_count(network) == 16


class Pieces(nn.Module):
    """A block whose convolutions and unfolding sit in containers that are never called."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.ModuleList([nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, (3, 1))])
        self.parts = nn.ModuleDict({"unfold": Unfold(PatchSize(4, 4))})
        self.after = nn.Conv1d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.before:
            x = layer(x)
        return self.parts["unfold"](x)


@pytest.mark.parametrize("network", [Pieces(), nn.Sequential(Pieces())])
def test_all_convolutions_before_the_patches_count(network: nn.Module) -> None:
    found = stages.describe(network, NO_SPEC, torch.rand(1, 2, 10, 8))
    (unfolding,) = [s.unfolding for s in found.stages if s.unfolding]
    assert unfolding.kernel == (5, 3)
    assert (unfolding.tokens, unfolding.pixels) == (4, 16)


def test_names_that_begin_alike_are_kept_apart() -> None:
    network = nn.Sequential()
    network.add_module("a", nn.Linear(2, 2))
    network.add_module("ab", nn.Linear(2, 3))
    found = stages.describe(network, NO_SPEC, torch.rand(1, 2))
    assert [(s.name, s.macs) for s in found.stages] == [("a", 6), ("ab", 9)]


@pytest.mark.parametrize(("batch", "config"), [*itertools.product((1, 3), ("2,2,2", "3,3,3"))])
def test_the_batch_changes_work_but_no_geometry(built, batch: int, config: str) -> None:
    network = copy.deepcopy(built())
    network.set_patches(parse_patches(config))
    one = stages.describe(network, NO_SPEC, torch.rand(1, 3, 96, 96))
    more = stages.describe(network, NO_SPEC, torch.rand(batch, 3, 96, 96))
    assert more.totals.macs == batch * one.totals.macs
    assert more.totals.macs_cvnets == batch * one.totals.macs_cvnets
    assert [s.unfolding for s in more.stages] == [s.unfolding for s in one.stages]
