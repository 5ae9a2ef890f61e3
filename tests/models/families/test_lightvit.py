from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families import lightvit
from tests.models.families import by_name, published
from tests.models.families.by_name import Weights
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "tensors"),
    [
        ("lightvit_tiny", 9_377_698, 776, 415),
        ("lightvit_small", 19_200_248, 1831, 415),
        ("lightvit_base", 35_195_653, 4118, 493),
    ],
)
def test_counts(name: str, parameters: int, millions: int, tensors: int) -> None:
    network = published.shapes_of(lightvit, name)
    assert published.parameters(network) == parameters
    assert round(published.millions(network, 224, 224)) == millions
    assert len(network.state_dict()) == tensors


def test_shares() -> None:
    network = published.shapes_of(lightvit, "lightvit_tiny")
    expected = {ATTENTION: 34, FFN: 57, PRE_AND_POST: 9}
    assert published.shares(network, 224, 224) == pytest.approx(expected, abs=1.5)
    table = models.module_table(network)
    assert table["stages.1.1.mlp.attn.channel_select"].category is ATTENTION
    assert table["stages.1.0.res_proj"].category is PRE_AND_POST


def test_names_are_those_of_the_authors() -> None:
    weights = published.shapes_of(lightvit, "lightvit_tiny").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes["global_token"] == (1, 8, 64)
    assert shapes["patch_embed.stem.9.weight"] == (32, 1, 3, 3)
    assert shapes["stages.0.0.attn.relative_position_index"] == (49 * 49,)
    assert shapes["stages.0.0.attn.relative_position_bias_table"] == (169, 2)
    assert shapes["stages.1.0.reduction.weight"] == (128, 256)
    assert shapes["stages.2.6.attn.kv_global.bias"] == (512,)
    assert shapes["stages.2.6.mlp.attn.spatial_select.weight"] == (1, 128)
    assert shapes["neck.1.weight"] == (1280,)
    assert {"norm.weight", "head.bias"} <= shapes.keys()


def rewritten(weights: Weights, x: Tensor, tokens: int) -> Tensor:
    for i, (stride, groups) in enumerate(((2, 1), (1, 32), (1, 32), (2, 32))):
        x = weights.conv(f"patch_embed.stem.{3 * i}", x, stride=stride, padding=1, groups=groups)
        x = F.gelu(weights.batch_norm(f"patch_embed.stem.{3 * i + 1}", x))
    x = weights.conv("patch_embed.proj", x, stride=2, padding=1)
    height, width = x.shape[2:]
    x = weights.layer_norm("patch_embed.norm", by_name.off_map(x), 1e-5)
    x = by_name.with_class(weights["global_token"], x)
    for stage, depth in enumerate((2, 6, 6)):
        first = int(stage > 0)
        if first:
            x = merged(weights.below(f"stages.{stage}.0"), x, tokens, height, width)
            height, width = height // 2, width // 2
        for i in range(first, first + depth):
            block = weights.below(f"stages.{stage}.{i}")
            normed = block.layer_norm("norm1", x, 1e-6)
            x = x + attention(block.below("attn"), normed, tokens, height, width)
            normed = block.layer_norm("norm2", x, 1e-6)
            x = x + gated(block.below("mlp.attn"), block.perceptron("mlp", normed))
    x = weights.linear("neck.0", weights.layer_norm("norm", x, 1e-6))
    x = F.gelu(weights.layer_norm("neck.1", x, 1e-5)).mean(1)
    return weights.linear("head", x)


def merged(weights: Weights, x: Tensor, tokens: int, height: int, width: int) -> Tensor:
    ours, image = x[:, :tokens], x[:, tokens:].unflatten(1, (height, width))
    largest = F.max_pool2d(image.permute(0, 3, 1, 2), 2)
    batch = image.shape[0]
    # Rows, then columns, within each 2x2; the weights have columns first.
    corners = image.reshape(batch, height // 2, 2, width // 2, 2, -1).permute(0, 1, 3, 4, 2, 5)
    corners = weights.layer_norm("norm", corners.flatten(3).flatten(1, 2), 1e-5)
    image = weights.linear("reduction", corners)
    image = image + weights.linear("res_proj", by_name.off_map(largest))
    ours = weights.linear("proj", weights.layer_norm("norm2", ours, 1e-5))
    return torch.cat((ours, image), dim=1)


def attention(weights: Weights, x: Tensor, tokens: int, height: int, width: int) -> Tensor:
    heads = weights["relative_position_bias_table"].shape[1]
    q, k, v = by_name.split(weights.linear("qkv", x), 3, heads)
    gathered = by_name.joined(
        F.scaled_dot_product_attention(q[:, :, :tokens], k[:, :, tokens:], v[:, :, tokens:])
    )
    to, what = by_name.split(weights.linear("kv_global", gathered), 2, heads)
    q, k, v = (t[:, :, tokens:] for t in (q, k, v))
    spread = by_name.joined(F.scaled_dot_product_attention(q, to, what))
    # One token after the other: those of its own window, and how far they are away.
    index = weights["relative_position_index"].reshape(49, 49)
    places = [(y, x) for y in range(7) for x in range(7)]
    assert index.tolist() == [
        [(y - v + 6) * 13 + (x - u + 6) for v, u in places] for y, x in places
    ]
    bias = weights["relative_position_bias_table"][index].permute(2, 0, 1)
    whole = torch.zeros_like(spread)
    rows = torch.arange(height * width).reshape(height, width)
    for y in range(0, height, 7):
        for left in range(0, width, 7):
            window = rows[y : y + 7, left : left + 7].flatten()
            inside = (t[:, :, window] for t in (q, k, v))
            mixed = F.scaled_dot_product_attention(*inside, attn_mask=bias[None])
            whole[:, window] = by_name.joined(mixed)
    return weights.linear("proj", torch.cat((gathered, whole + spread), dim=1))


def gated(weights: Weights, x: Tensor) -> Tensor:
    normed = weights.layer_norm("norm", x, 1e-5)
    all_tokens = F.gelu(weights.linear("global_reduce", normed.mean(1, keepdim=True)))
    each = F.gelu(weights.linear("local_reduce", normed))
    both = torch.cat((each, all_tokens.expand_as(each)), dim=-1)
    channels = weights.linear("channel_select", all_tokens).sigmoid()
    return x * channels * weights.linear("spatial_select", both).sigmoid()


def test_it_is_what_a_plain_rewrite_is() -> None:
    network = published.small(lightvit, "lightvit_tiny", 224, 448)
    # The stem's BatchNorms are not calibrated: only strong images get through.
    weights, images = Weights(network.state_dict()), 30 * published.pictures(224, 448)
    with torch.inference_mode():
        expected = rewritten(weights, images, tokens=8)
    published.assert_agrees(network, images, expected)
    assert not weights.unused()


def test_other_images_and_classes() -> None:
    network = published.shapes_of(lightvit, "lightvit_tiny", image_size=(448, 224), num_classes=10)
    assert published.forward_pass(network, 448, 224) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 224"):
        published.shapes_of(lightvit, "lightvit_tiny", image_size=(256, 256))
