from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mvdeploy.errors import UsageError
from mvdeploy.models.families import edgevit
from tests.models.families import by_name, published
from tests.models.families.by_name import Weights
from tests.models.families.published import ATTENTION, CONVOLUTION, FFN, PRE_AND_POST


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "tensors"),
    [
        ("edgevit_xxs", 4_067_704, 553, 251),
        ("edgevit_xs", 6_770_056, 1130, 237),
        ("edgevit_s", 13_108_168, 1915, 385),
    ],
)
def test_counts(name: str, parameters: int, millions: int, tensors: int) -> None:
    network = published.shapes_of(edgevit, name)
    assert published.parameters(network) == parameters
    assert round(published.millions(network, 224, 224)) == millions
    assert len(network.state_dict()) == tensors


def test_shares() -> None:
    shares = published.shares(published.shapes_of(edgevit, "edgevit_xxs"), 224, 224)
    expected = {ATTENTION: 14, FFN: 71, CONVOLUTION: 9, PRE_AND_POST: 5}
    assert shares == pytest.approx(expected, abs=1.5)


def test_names_are_those_of_the_authors() -> None:
    weights = published.shapes_of(edgevit, "edgevit_xxs").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes["patch_embed1.proj.weight"] == (36, 3, 4, 4)
    assert shapes["patch_embed4.norm.bias"] == (288,)
    assert shapes["blocks1.0.LocalAgg.attn.weight"] == (36, 1, 5, 5)
    assert shapes["blocks3.2.LocalAgg.mlp.fc1.weight"] == (576, 144, 1, 1)
    assert shapes["blocks3.2.SelfAttn.attn.LocalProp.weight"] == (144, 1, 2, 2)
    assert shapes["blocks4.1.SelfAttn.attn.qkv.bias"] == (864,)
    assert "blocks4.1.LocalAgg.norm1.weight" not in shapes
    assert {"norm.running_var", "head.weight"} <= shapes.keys()


def rewritten(weights: Weights, x: Tensor, head_dim: int) -> Tensor:
    for i, rate in enumerate((4, 2, 2, 1), start=1):
        x = weights.conv(f"patch_embed{i}.proj", x, stride=4 if i == 1 else 2)
        height, width, dim = x.shape[2], x.shape[3], x.shape[1]
        normed = weights.layer_norm(f"patch_embed{i}.norm", by_name.off_map(x), 1e-5)
        x = by_name.on_map(normed, height, width)
        block = 0
        while f"blocks{i}.{block}.SelfAttn.norm1.weight" in weights:
            if rate > 1:
                x = local_aggregation(weights.below(f"blocks{i}.{block}.LocalAgg"), x)
            inner = weights.below(f"blocks{i}.{block}.SelfAttn")
            x = self_attention(inner, x, dim // head_dim, rate)
            block += 1
    x = weights.batch_norm("norm", x).flatten(2).mean(-1)
    return weights.linear("head", x)


def local_aggregation(weights: Weights, x: Tensor) -> Tensor:
    dim = x.shape[1]
    x = x + weights.conv("pos_embed", x, padding=1, groups=dim)
    y = weights.conv("conv1", weights.batch_norm("norm1", x))
    x = x + weights.conv("conv2", weights.conv("attn", y, padding=2, groups=dim))
    y = F.gelu(weights.conv("mlp.fc1", weights.batch_norm("norm2", x)))
    return x + weights.conv("mlp.fc2", y)


def self_attention(weights: Weights, x: Tensor, heads: int, rate: int) -> Tensor:
    height, width, dim = x.shape[2], x.shape[3], x.shape[1]
    x = by_name.off_map(x + weights.conv("pos_embed", x, padding=1, groups=dim))
    y = by_name.on_map(weights.layer_norm("norm1", x, 1e-6), height, width)
    y = by_name.off_map(F.avg_pool2d(y, 1, rate))  # every so many pixels, as the authors write it
    q, k, v = by_name.split(weights.linear("attn.qkv", y), 3, heads)
    y = by_name.joined(F.scaled_dot_product_attention(q, k, v))
    if rate > 1:
        local = weights.below("attn.LocalProp")
        y = by_name.on_map(y, height // rate, width // rate)
        y = F.conv_transpose2d(y, local["weight"], local["bias"], stride=rate, groups=dim)
        y = weights.layer_norm("attn.norm", by_name.off_map(y), 1e-5)
    x = x + weights.linear("attn.proj", y)
    x = x + weights.perceptron("mlp", weights.layer_norm("norm2", x, 1e-6))
    return by_name.on_map(x, height, width)


def test_it_is_what_a_plain_rewrite_is() -> None:
    network = published.small(edgevit, "edgevit_xxs", 64, 96)
    weights, images = Weights(network.state_dict()), published.pictures(64, 96)
    with torch.inference_mode():
        expected = rewritten(weights, images, head_dim=36)
    published.assert_agrees(network, images, expected)
    assert not weights.unused()


def test_other_images_and_classes() -> None:
    network = published.shapes_of(edgevit, "edgevit_xxs", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 32"):
        published.shapes_of(edgevit, "edgevit_xxs", image_size=(48, 64))
