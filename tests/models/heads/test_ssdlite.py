"""SSDLite against the counts of CVNets (tag v0.1) and the keys of its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import macs
from mvdeploy.models.families.mobilevit import tensors
from mvdeploy.models.heads import ssdlite
from mvdeploy.records.spec import parse_patches
from mvdeploy.tasks import detect

KEYS = Path(__file__).parents[2] / "data" / "ssdlite_head_keys_mobilevit_s.json"

# Parameters with 81 classes, and millions of MACs at 320 with 2,2,2 and 8,4,2.
COUNTS = {
    "mobilevit_xxs": (1_755_050, 844.6, 671.8),
    "mobilevit_xs": (2_742_042, 1849.2, 1590.0),
    "mobilevit_s": (5_738_826, 3432.6, 3040.9),
}


@pytest.mark.parametrize("model", COUNTS)
def test_parameters_macs_and_priors(shaped, model: str) -> None:
    parameters, *millions = COUNTS[model]
    for config, counted in zip(("2,2,2", "8,4,2"), millions, strict=True):
        network, spec = shaped(model, task="detect", patches=parse_patches(config))
        image = torch.zeros(1, 3, *spec.image_size, device="meta")
        assert (spec.image_size, spec.num_classes) == ((320, 320), 81)
        assert models.parameter_count(network) == parameters
        assert round(macs.count(network, image) / 1e6, 1) == counted
        assert {name: tuple(x.shape) for name, x in network(image).items()} == {
            "boxes": (1, 3232, 4),
            "scores": (1, 3232, 81),
        }


def test_the_head_has_the_names_and_shapes_of_cvnets(shaped) -> None:
    network, _ = shaped("mobilevit_s", task="detect")
    own = {n: list(t.shape) for n, t in network.state_dict().items() if "encoder." not in n}
    assert own == json.loads(KEYS.read_text())


@pytest.mark.parametrize("model", COUNTS)
def test_what_is_known_without_torch_is_what_is_built(shaped, model: str) -> None:
    network, spec = shaped(model, task="detect", num_classes=7)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own == tensors(model, spec.num_classes, "detect")


@pytest.mark.parametrize("size", [(96, 96), (320, 320), (100, 161)])
def test_outputs_have_the_shapes_that_the_task_says(shaped, size: tuple[int, int]) -> None:
    network, spec = shaped("mobilevit_xxs", task="detect", image_size=size)
    found = network(torch.zeros(1, 3, *size, device="meta"))
    assert [(t.name, t.shape) for t in detect.outputs(spec)] == [
        (name, tuple(tensor.shape)) for name, tensor in found.items()
    ]


def test_priors_of_a_cell_stand_together_row_by_row() -> None:
    """Channel c of a head at row y, column x is value c mod 85 of prior (y·W + x)·6 + c div 85."""
    head = ssdlite.Head(64, 64, 6, 81, last=False)
    head.loc_cls_layer = nn.Identity()  # what comes in is what a head would say
    said = torch.arange(6 * 85 * 6).reshape(1, 6 * 85, 2, 3).float()
    boxes, scores = head(said)
    y, x, prior, value = 1, 2, 4, 10
    flat = (y * 3 + x) * 6 + prior
    assert scores[0, flat, value - 4] == said[0, prior * 85 + value, y, x]
    assert boxes[0, flat, 3] == said[0, prior * 85 + 3, y, x]


def test_its_time_has_a_category_of_its_own(shaped) -> None:
    network, _ = shaped("mobilevit_xxs", task="detect")
    table = models.module_table(network)
    assert ssdlite.HEAD.heading == "Detection head"
    heads = ("ssd_heads.0.proj_layer.block.conv", "extra_layers.os_64", "")
    assert {table[path].category for path in heads} == {ssdlite.HEAD}
    assert table["encoder.layer_3.1.transformer.0.attention"].category == "attention"
    assert table["encoder"].category == "pre-and-post"


def test_a_patch_that_its_map_has_no_room_for() -> None:
    with pytest.raises(UsageError, match="The patch 8 is larger than the 4x4 map at output str"):
        models.make_spec(
            "mobilevit_xxs", task="detect", image_size=(32, 32), patches=parse_patches("8,4,2")
        )
