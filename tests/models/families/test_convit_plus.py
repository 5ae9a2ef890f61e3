from __future__ import annotations

import pytest
import torch

from mvdeploy.errors import UsageError
from mvdeploy.models.families import convit_plus
from tests.models.families import published
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


def test_counts() -> None:
    network = published.shapes_of(convit_plus, "convit_tiny_plus")
    assert published.parameters(network) == 9_972_912
    assert round(published.millions(network, 224, 224)) == 2136
    assert len(network.state_dict()) == 180


def test_shares() -> None:
    shares = published.shares(published.shapes_of(convit_plus, "convit_tiny_plus"), 224, 224)
    assert shares[ATTENTION] / shares[FFN] == pytest.approx((4 * 256 + 2 * 197) / 2048, abs=0.01)
    assert shares[PRE_AND_POST] == pytest.approx(1.8, abs=0.1)


def test_the_distances_are_no_part_of_checkpoints() -> None:
    weights = published.shapes_of(convit_plus, "convit_tiny_plus").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes["pos_embed"] == (1, 196, 256)
    assert shapes["blocks.9.attn.pos_proj.weight"] == (4, 3)
    assert shapes["blocks.9.attn.gating_param"] == (4,)
    assert shapes["blocks.10.attn.qkv.weight"] == (768, 256)
    assert not any("rel_indices" in name for name in shapes)


def test_it_is_that_of_timm(references) -> None:
    # timm multiplies the width by the heads.
    theirs = references.timm.create_model(
        "convit_tiny", embed_dim=64, num_heads=4, img_size=64, num_classes=5
    )
    network = published.small(convit_plus, "convit_tiny_plus", 64, 64)
    theirs.double().eval().load_state_dict(network.state_dict())
    images = published.pictures(64, 64)
    with torch.inference_mode():
        published.assert_agrees(network, images, theirs(images))


def test_other_images_and_classes() -> None:
    size = (64, 32)
    network = published.shapes_of(convit_plus, "convit_tiny_plus", image_size=size, num_classes=10)
    assert published.forward_pass(network, *size) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 16"):
        published.shapes_of(convit_plus, "convit_tiny_plus", image_size=(100, 96))
