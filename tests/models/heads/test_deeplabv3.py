"""DeepLabv3 against the counts of CVNets (tag v0.1) and against transformers with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import macs, random_weights
from mvdeploy.models.families.mobilevit import tensors
from mvdeploy.models.heads import deeplabv3
from mvdeploy.records.spec import parse_patches

# Parameters with 21 classes, and millions of MACs at 512 with 2,2,2 and 8,4,2.
COUNTS = {
    "mobilevit_xxs": (1_854_853, 3960.8, 2828.4),
    "mobilevit_xs": (2_944_069, 7390.4, 5691.7),
    "mobilevit_s": (6_357_941, 13712.4, 11145.5),
}


@pytest.mark.parametrize("model", COUNTS)
def test_parameters_and_macs(shaped, model: str) -> None:
    parameters, *millions = COUNTS[model]
    for config, counted in zip(("2,2,2", "8,4,2"), millions, strict=True):
        network, spec = shaped(model, task="segment", patches=parse_patches(config))
        image = torch.zeros(1, 3, *spec.image_size, device="meta")
        assert (spec.image_size, spec.num_classes) == ((512, 512), 21)
        assert models.parameter_count(network) == parameters
        assert round(macs.count(network, image) / 1e6, 1) == counted
        assert network(image).shape == (1, 21, 512, 512)


@pytest.mark.parametrize("model", COUNTS)
def test_what_is_known_without_torch_is_what_is_built(shaped, model: str) -> None:
    network, spec = shaped(model, task="segment", num_classes=7)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own == tensors(model, spec.num_classes, "segment")


def test_its_time_has_a_category_of_its_own(shaped) -> None:
    network, _ = shaped("mobilevit_xxs", task="segment")
    table = models.module_table(network)
    assert deeplabv3.HEAD.heading == "Segmentation head"
    paths = ("seg_head.aspp.aspp_layer.convs.1.block.conv", "seg_head.classifier", "")
    assert {table[path].category for path in paths} == {deeplabv3.HEAD}
    assert table["encoder.layer_5.0.expand.conv"].category == "convolution"


def test_patches_of_the_last_stage_have_the_map_of_the_one_before() -> None:
    """8x8 patches: layer_5 has 8x8 cells at output stride 16, and would have 4x4 at 32."""
    patches, size = parse_patches("8,8,8"), (128, 128)
    models.make_spec("mobilevit_xxs", task="segment", patches=patches, image_size=size)
    with pytest.raises(UsageError, match="larger than the 4x4 map"):
        models.make_spec("mobilevit_xxs", patches=patches, image_size=size)


@pytest.fixture(scope="module")
def theirs(references: Any) -> Any:
    """transformers' network with weights that carry signal."""
    config = references.transformers.MobileViTConfig(
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0,
        output_stride=16,
        num_labels=21,
    )
    network = references.transformers.MobileViTForSemanticSegmentation(config).eval()
    random_weights.initialise(network, 3, batches=1)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 96), (80, 112)])
def test_transformers_with_its_weights(theirs: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    theirs.save_pretrained(tmp_path)
    spec = models.make_spec("mobilevit_xxs", weights=tmp_path, image_size=size)
    assert (spec.task, spec.num_classes) == ("segment", 21)
    assert spec.weights is not None
    assert spec.weights.layout == "transformers"
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        coarse = theirs(image).logits
        wanted = F.interpolate(coarse, scale_factor=16, mode="bilinear", align_corners=False)
        found = models.build(spec)(image)
    assert coarse.shape[-2:] == (size[0] // 16, size[1] // 16)
    assert float((found - wanted).abs().max() / wanted.std()) < 1e-5


def test_a_folder_of_another_output_stride_is_refused(theirs: Any, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"output_stride": 16', '"output_stride": 8'))
    with pytest.raises(UsageError, match="output_stride 8, but mvdeploy's MobileViT has 16"):
        models.make_spec("mobilevit_xxs", task="segment", weights=tmp_path)
