from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mvdeploy.errors import UsageError
from mvdeploy.models.families import ceit
from tests.models.families import by_name, published
from tests.models.families.by_name import Weights
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


def test_counts() -> None:
    network = published.shapes_of(ceit, "ceit_tiny")
    assert published.parameters(network) == 6_356_904
    assert round(published.millions(network, 224, 224)) == 1397
    assert len(network.state_dict()) == 375


def test_shares() -> None:
    shares = published.shares(published.shapes_of(ceit, "ceit_tiny"), 224, 224)
    assert shares == pytest.approx({ATTENTION: 38, FFN: 51, PRE_AND_POST: 11}, abs=1.5)


def test_names_are_those_of_the_authors() -> None:
    weights = published.shapes_of(ceit, "ceit_tiny").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes["i2t.backbone.conv.weight"] == (64, 3, 7, 7)
    assert shapes["i2t.backbone.bn.running_mean"] == (64,)
    assert shapes["i2t.proj.weight"] == (192, 64, 4, 4)
    assert shapes["pos_embed"] == (1, 197, 192)
    assert shapes["pos_layer_embed"] == (1, 12, 192)
    assert shapes["blocks.11.leff.conv2.weight"] == (768, 1, 3, 3)
    assert shapes["blocks.11.leff.bn3.num_batches_tracked"] == ()
    assert shapes["lca.feedforward.fc2.weight"] == (192, 768)
    assert {"cls_token", "blocks.0.attn.qkv.bias", "lca.attn.qkv.weight"} <= shapes.keys()


def rewritten(weights: Weights, x: Tensor) -> Tensor:
    stem = weights.below("i2t.backbone")
    x = stem.batch_norm("bn", stem.conv("conv", x, stride=2, padding=3))
    x = weights.conv("i2t.proj", F.max_pool2d(x, 3, stride=2, padding=1), stride=4)
    height, width = x.shape[2:]
    x = by_name.with_class(weights["cls_token"], by_name.off_map(x)) + weights["pos_embed"]
    classes = []
    for i in range(12):
        block = weights.below(f"blocks.{i}")
        x = x + block.attention("attn", block.layer_norm("norm1", x, 1e-6), heads=3)
        normed = block.layer_norm("norm2", x, 1e-6)
        y = by_name.on_map(normed[:, 1:], height, width)
        y = F.gelu(block.batch_norm("leff.bn1", block.conv("leff.conv1", y)))
        y = block.conv("leff.conv2", y, padding=1, groups=768)
        y = F.gelu(block.batch_norm("leff.bn2", y))
        y = block.batch_norm("leff.bn3", block.conv("leff.conv3", y))
        x = x + torch.cat((normed[:, :1], by_name.off_map(y)), dim=1)
        classes.append(x[:, 0])
    # All twelve attend here, and all but the last are dropped.
    x, lca = torch.stack(classes, dim=1) + weights["pos_layer_embed"], weights.below("lca")
    x = x + lca.attention("attn", lca.layer_norm("norm1", x, 1e-6), heads=3)
    x = x + lca.perceptron("feedforward", lca.layer_norm("norm2", x, 1e-6))
    return weights.linear("head", weights.layer_norm("norm", x[:, 11], 1e-6))


def test_it_is_what_a_plain_rewrite_is() -> None:
    network = published.small(ceit, "ceit_tiny", 64, 48)
    weights, images = Weights(network.state_dict()), published.pictures(64, 48)
    with torch.inference_mode():
        expected = rewritten(weights, images)
    published.assert_agrees(network, images, expected)
    assert not weights.unused()


def test_other_images_and_classes() -> None:
    network = published.shapes_of(ceit, "ceit_tiny", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 16"):
        published.shapes_of(ceit, "ceit_tiny", image_size=(100, 96))
