from __future__ import annotations

import pytest
import torch
from torch import nn

from mvdeploy.models import random_weights
from mvdeploy.models.families import espnetv2
from mvdeploy.models.families.espnetv2.network import EESP, DownSampler, ESPNetv2
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("espnetv2_100", 1_670_072, 86.7),
        ("espnetv2_150", 2_314_856, 169.6),
        ("espnetv2_200", 3_498_136, 286.1),
    ],
)
def test_published_counts(name: str, parameters: int, macs: float) -> None:
    found = measure(espnetv2, name)
    assert found.parameters == parameters
    assert found.macs == pytest.approx(macs, abs=0.05)
    assert found.shares[Category.CONVOLUTION] > 98


def test_names_are_those_of_the_authors() -> None:
    names = measure(espnetv2, "espnetv2_150").names
    assert len(names) == 487
    assert {
        "level1.act.weight",
        "level2_0.eesp.spp_dw.3.conv.weight",
        "level2_0.eesp.module_act.weight",
        "level5_0.inp_reinf.1.bn.running_var",
        "level4.6.br_after_cat.bn.weight",
        "level5.4.conv.weight",
        "classifier.bias",
    } <= set(names)


def test_dilations_are_smaller_where_maps_are_small() -> None:
    network = ESPNetv2(width=64, last=1024, num_classes=2)

    def dilations(path: str) -> list[int]:
        unit = network.get_submodule(path)
        return [conv.dilation[0] for conv in unit.modules() if _is_depthwise(conv)]

    assert dilations("level3.0") == dilations("level4_0.eesp") == [1, 2, 3, 4]
    assert dilations("level4.0") == dilations("level5_0.eesp") == [1, 1, 2, 3]
    assert dilations("level5.0") == [1, 1, 1, 2]


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels


def test_the_last_branch_of_the_image_is_not_called() -> None:
    network = ESPNetv2(width=96, last=1024, num_classes=2)
    assert sum(weight.numel() for weight in network.level5_0.inp_reinf.parameters()) == 3930
    called: list[nn.Module] = []
    for downsampler in (network.level4_0, network.level5_0):
        downsampler.inp_reinf.register_forward_hook(lambda module, *_: called.append(module))
    with torch.inference_mode():
        network.eval()(torch.rand(1, 3, 64, 64))
    assert called == [network.level4_0.inp_reinf]


def test_every_image_size_has_maps_that_fit() -> None:
    network = ESPNetv2(width=64, last=1024, num_classes=3)
    random_weights.initialise(network, seed=1, image_size=(64, 64))
    with torch.inference_mode():
        for size in ((33, 70), (64, 49)):
            assert network(torch.rand(2, 3, *size)).shape == (2, 3)


def test_a_downsampler_adds_what_the_image_shows() -> None:
    torch.manual_seed(0)
    downsampler = DownSampler(8, 24, (1, 2, 3, 4)).eval()
    x, image = torch.rand(1, 8, 9, 9), torch.rand(1, 3, 5, 5)
    with torch.inference_mode():
        downsampler.act.weight.fill_(1)  # without an activation the difference is the branch
        added = downsampler(x, image) - downsampler(x)
        torch.testing.assert_close(added, downsampler.inp_reinf(image), rtol=1e-4, atol=1e-5)


def test_a_unit_sums_its_dilations_and_adds_its_input() -> None:
    torch.manual_seed(0)
    unit = EESP(16, 16, (1, 1, 2, 3)).eval()
    x = torch.randn(2, 16, 9, 7)
    with torch.inference_mode():
        reduced = unit.proj_1x1(x)
        branches = torch.stack([dilated(reduced) for dilated in unit.spp_dw])
        sums = branches.cumsum(dim=0).transpose(0, 1).flatten(1, 2)
        expected = unit.module_act(unit.conv_1x1_exp(unit.br_after_cat(sums)) + x)
        torch.testing.assert_close(unit(x), expected)
