"""MobileNetV2: published counts, timm's network with the same weights, CVNets' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import macs, random_weights
from mvdeploy.records.spec import parse_patches

NAME = "mobilenetv2"

# Parameters and millions of MACs: 3.5 M in the paper; with heads, CVNets' networks (4.5 M in the
# MobileViT paper's Table 2).
COUNTS = {
    "classify": (3_504_872, 300.8),
    "detect": (2_783_882, 724.4),
    "segment": (4_523_541, 5070.2),
}


def unbuilt(task: str, **asked: Any) -> tuple[nn.Module, Any]:
    spec = models.make_spec(NAME, task=task, **asked)
    with torch.device("meta"):
        return models._family(NAME).build(spec).eval(), spec


@pytest.mark.parametrize("task", COUNTS)
def test_parameters_and_macs(task: str) -> None:
    network, spec = unbuilt(task)
    image = torch.zeros(1, 3, *spec.image_size, device="meta")
    counted = models.parameter_count(network), round(macs.count(network, image) / 1e6, 1)
    assert counted == COUNTS[task]


def test_timm_with_the_same_weights(references: Any) -> None:
    """timm has the same layers in the same order, under other names."""
    theirs = references.timm.create_model("mobilenetv2_100", num_classes=9).eval()
    random_weights.initialise(theirs, 2, (64, 64), batches=1)
    ours = models._family(NAME).build(models.make_spec(NAME, num_classes=9)).eval()
    pairs = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(pairs))
    image = torch.rand(2, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = theirs(image), ours(image)
    assert float((wanted - found).abs().max() / wanted.std()) < 1e-5


def test_layer_5_is_dilated_after_its_first_block_to_segment() -> None:
    network, _ = unbuilt("segment")
    blocks = network.get_submodule("encoder.layer_5").children()
    convolutions = [block.get_submodule("block.conv_3x3.block.conv") for block in blocks]
    assert [(c.stride[0], c.dilation[0], c.padding[0]) for c in convolutions] == [
        (1, 1, 1),
        (1, 2, 2),
        (1, 2, 2),
        (1, 2, 2),
    ]


def test_names_are_those_of_cvnets() -> None:
    names = set(unbuilt("classify")[0].state_dict())
    assert names >= {
        "conv_1.block.conv.weight",
        "layer_1.mv2_block_0.block.conv_3x3.block.norm.bias",
        "layer_4.mv2_block_6.block.exp_1x1.block.conv.weight",
        "conv_1x1_exp.block.norm.running_var",
        "classifier.classifier_fc.weight",
    }
    assert "layer_1.mv2_block_0.block.exp_1x1.block.conv.weight" not in names


@pytest.mark.parametrize("task", COUNTS)
def test_a_checkpoint_of_cvnets_loads_and_tells_its_task(task: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = models.make_spec(NAME, task=task, num_classes=5, image_size=(64, 64))
    saved = models._family(NAME).build(plain).state_dict()
    torch.save(saved, tmp_path / "net.pt")
    spec = models.make_spec(NAME, weights=tmp_path / "net.pt")
    assert (spec.task, spec.num_classes) == (task, 5)
    assert models.preprocessing(spec).channel_order == "BGR"
    loaded = models.build(spec).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())


def test_it_has_no_patches() -> None:
    with pytest.raises(UsageError, match="patches"):
        models.make_spec(NAME, patches=parse_patches("2,2,2"))
