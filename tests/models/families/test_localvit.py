from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mvdeploy.errors import UsageError
from mvdeploy.models.families import localvit
from tests.models.families import by_name, published
from tests.models.families.by_name import Weights
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "tensors"),
    [("localvit_tiny", 7_655_080, 1623, 296), ("localvit_tiny_se", 5_908_696, 1268, 344)],
)
def test_counts(name: str, parameters: int, millions: int, tensors: int) -> None:
    network = published.shapes_of(localvit, name)
    assert published.parameters(network) == parameters
    assert round(published.millions(network, 224, 224)) == millions
    assert len(network.state_dict()) == tensors


def test_shares() -> None:
    shares = published.shares(published.shapes_of(localvit, "localvit_tiny"), 224, 224)
    assert shares == pytest.approx({ATTENTION: 33, FFN: 66, PRE_AND_POST: 2}, abs=1.5)


def test_names_are_those_of_the_authors() -> None:
    plain, se = (
        {n: tuple(t.shape) for n, t in published.shapes_of(localvit, name).state_dict().items()}
        for name in ("localvit_tiny", "localvit_tiny_se")
    )
    assert plain["patch_embed.proj.weight"] == (192, 3, 16, 16)
    assert plain["blocks.11.conv.conv.3.weight"] == (1152, 1, 3, 3)
    assert plain["blocks.11.conv.conv.6.weight"] == (192, 1152, 1, 1)
    assert se["blocks.11.conv.conv.6.fc.0.weight"] == (4, 768)
    assert se["blocks.11.conv.conv.8.running_var"] == (192,)
    assert {"cls_token", "pos_embed", "blocks.0.norm1.bias", "norm.bias", "head.bias"} <= se.keys()
    assert not any("norm2" in name for name in plain)


def rewritten(weights: Weights, x: Tensor) -> Tensor:
    x = weights.conv("patch_embed.proj", x, stride=16)
    height, width = x.shape[2:]
    x = by_name.with_class(weights["cls_token"], by_name.off_map(x)) + weights["pos_embed"]
    for i in range(12):
        block = weights.below(f"blocks.{i}")
        x = x + block.attention("attn", block.layer_norm("norm1", x, 1e-6), heads=4)
        image = by_name.on_map(x[:, 1:], height, width)
        image = image + feed_forward(block.below("conv.conv"), image)
        x = torch.cat((x[:, :1], by_name.off_map(image)), dim=1)
    return weights.linear("head", weights.layer_norm("norm", x, 1e-6)[:, 0])


def feed_forward(weights: Weights, x: Tensor) -> Tensor:
    squeezes = "6.fc.0.weight" in weights

    def act(x: Tensor) -> Tensor:
        return x * F.relu6(x + 3) / 6 if squeezes else x.clamp(0, 6)

    x = act(weights.batch_norm("1", weights.conv("0", x)))
    x = act(weights.batch_norm("4", weights.conv("3", x, padding=1, groups=x.shape[1])))
    if squeezes:
        mean = F.adaptive_avg_pool2d(x, 1).flatten(1)
        share = weights.linear("6.fc.2", weights.linear("6.fc.0", mean).relu())
        x = x * (F.relu6(share + 3) / 6)[..., None, None]
    last = 7 if squeezes else 6
    return weights.batch_norm(f"{last + 1}", weights.conv(f"{last}", x))


@pytest.mark.parametrize("name", ["localvit_tiny", "localvit_tiny_se"])
def test_it_is_what_a_plain_rewrite_is(name: str) -> None:
    network = published.small(localvit, name, 64, 48)
    weights, images = Weights(network.state_dict()), published.pictures(64, 48)
    with torch.inference_mode():
        expected = rewritten(weights, images)
    published.assert_agrees(network, images, expected)
    assert not weights.unused()


def test_other_images_and_classes() -> None:
    network = published.shapes_of(localvit, "localvit_tiny", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 16"):
        published.shapes_of(localvit, "localvit_tiny", image_size=(100, 96))
