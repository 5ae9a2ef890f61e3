from __future__ import annotations

import pytest
import torch

from mvdeploy.errors import UsageError
from mvdeploy.models.families import deit_plus
from tests.models.families import published
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


def test_counts() -> None:
    network = published.shapes_of(deit_plus, "deit_tiny_plus")
    assert published.parameters(network) == 9_982_184
    assert round(published.millions(network, 224, 224)) == 2142
    assert len(network.state_dict()) == 152


def test_shares() -> None:
    """Of a block, attention has 4·d² + 2·N·d a token and the perceptron 8·d²."""
    shares = published.shares(published.shapes_of(deit_plus, "deit_tiny_plus"), 224, 224)
    assert shares[ATTENTION] / shares[FFN] == pytest.approx((4 * 256 + 2 * 197) / 2048, abs=0.01)
    assert shares[PRE_AND_POST] == pytest.approx(1.8, abs=0.1)


def test_it_is_that_of_timm(references) -> None:
    theirs = references.timm.create_model(
        "deit_tiny_patch16_224", embed_dim=256, num_heads=4, img_size=64, num_classes=5
    )
    network = published.small(deit_plus, "deit_tiny_plus", 64, 64)
    theirs.double().eval().load_state_dict(network.state_dict())
    images = published.pictures(64, 64)
    with torch.inference_mode():
        published.assert_agrees(network, images, theirs(images))


def test_other_images_and_classes() -> None:
    network = published.shapes_of(deit_plus, "deit_tiny_plus", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 16"):
        published.shapes_of(deit_plus, "deit_tiny_plus", image_size=(100, 96))
