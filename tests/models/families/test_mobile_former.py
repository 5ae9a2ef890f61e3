from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvdeploy import models
from mvdeploy.models.families import mobile_former
from mvdeploy.models.families.mobile_former.network import (
    MapReadsTokens,
    OneDepthwise,
    Slopes,
    TokenBlock,
    TokensReadMap,
    TwoDepthwise,
)
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("mobile_former_96m", 4_585_252, 92),
        ("mobile_former_151m", 7_595_828, 146),
        ("mobile_former_214m", 9_425_920, 209),
        ("mobile_former_294m", 11_422_648, 287),
    ],
)
def test_published_counts(name: str, parameters: int, macs: int) -> None:
    found = measure(mobile_former, name)
    assert found.parameters == parameters
    assert found.macs == pytest.approx(macs, abs=0.51)


def test_shares_and_names() -> None:
    found = measure(mobile_former, "mobile_former_96m")
    percent = {
        Category.ATTENTION: 7,
        Category.FFN: 2,
        Category.CONVOLUTION: 83,
        Category.PRE_AND_POST: 8,
    }
    assert found.shares == pytest.approx(percent, abs=1.5)
    assert len(found.names) == 466
    assert {
        "tokens.weight",
        "features.0.conv.4.weight",
        "features.1.conv4.1.running_var",
        "features.1.hyper3.hyper.2.bias",
        "features.3.hyper2.hyper.0.weight",
        "features.3.local_global.alpha.0.weight",
        "features.3.global_block.ffn_norm.bias",
        "features.3.global_local.k.weight",
        "local_global.layer_norm.weight",
        "classifier.conv.2.weight",
        "classifier.fc.1.running_mean",
        "classifier.classifier.1.weight",
    } <= set(found.names)


def test_dynamic_relu_takes_two_slopes_from_the_first_token() -> None:
    torch.manual_seed(0)
    slopes = Slopes(8, 5)
    x, tokens = torch.randn(2, 5, 3, 4), torch.randn(2, 3, 8)
    shares = slopes.hyper(tokens[:, 0])
    first, second = 2 * shares[:, :5, None, None], 2 * shares[:, 5:, None, None] - 1
    assert torch.equal(slopes(x, tokens), torch.maximum(first * x, second * x))
    assert torch.equal(slopes(x, tokens), slopes(x, tokens[:, :1]))


def test_tokens_and_map_read_each_other() -> None:
    """Against torch's own attention: keys and values are what is read, without layers on them."""
    torch.manual_seed(0)
    attend = torch.nn.functional.scaled_dot_product_attention
    x, tokens = torch.randn(2, 6, 4, 5), torch.randn(2, 3, 8)
    pixels = x.reshape(2, 2, 3, 20).transpose(2, 3)  # batch, heads, pixels, width

    def heads(of: torch.Tensor, count: int) -> torch.Tensor:
        return of.unflatten(2, (count, -1)).transpose(1, 2)

    reads = TokensReadMap(6, 8)
    seen = attend(heads(reads.q(tokens), 2), pixels, pixels).transpose(1, 2).flatten(2)
    expected = reads.layer_norm(tokens + reads.proj(2 * reads.alpha(tokens) * seen))
    torch.testing.assert_close(reads(x, tokens), expected)

    block = TokenBlock(8)
    own = heads(tokens, 4)
    seen = attend(heads(block.q(tokens), 4), own, own).transpose(1, 2).flatten(2)
    middle = block.layer_norm(tokens + block.channel_mlp(seen))
    first, activation, second = block.ffn
    expected = block.ffn_norm(middle + second(activation(first(middle))))
    torch.testing.assert_close(block(tokens), expected)

    back = MapReadsTokens(6, 8)
    seen = attend(pixels, heads(back.k(tokens), 2), heads(back.proj(tokens), 2))
    torch.testing.assert_close(back(x, tokens), x + seen.transpose(2, 3).reshape(2, 6, 4, 5))


def test_the_feed_forward_layers_have_a_category_of_their_own() -> None:
    network = mobile_former.build(mobile_former.defaults("mobile_former_96m"))
    table = models.module_table(network)
    assert table["features.1.global_block.q"].category is Category.ATTENTION
    assert table["features.1.global_block.ffn.0"].category is Category.FFN
    assert table["features.1.global_block.ffn_norm"].category is Category.FFN
    assert table["features.1.hyper1.hyper.0"].category is Category.CONVOLUTION
    assert table["classifier.conv.1"].category is Category.PRE_AND_POST


def test_any_image_size_and_a_checkpoint(tmp_path: Path) -> None:
    spec = models.make_spec("mobile_former_96m", image_size=(49, 70), num_classes=3, seed=1)
    saved = models.build(spec)
    torch.save(saved.state_dict(), tmp_path / "net.pth")
    again = models.make_spec("mobile_former_96m", image_size=(49, 70), weights=tmp_path / "net.pth")
    image = torch.rand(2, 3, 49, 70)
    with torch.inference_mode():
        logits = saved(image)
        assert logits.shape == (2, 3)
        torch.testing.assert_close(models.build(again)(image), logits)


def test_the_map_reads_the_tokens_after_the_residual() -> None:
    torch.manual_seed(0)
    x, tokens = torch.randn(2, 6, 8, 8), torch.randn(2, 3, 8)
    for outputs in (6, 10):  # only what has the channels of its input is added to it
        block = OneDepthwise(6, outputs, 3, 8).eval()
        y, after = block(x, tokens)
        read = block.global_block(block.local_global(x, tokens))
        torch.testing.assert_close(after, read)
        hidden = block.hyper1(block.conv1(x), read)
        hidden = block.conv3(block.hyper2(block.conv2(hidden), read))
        own = hidden + x if outputs == 6 else hidden
        torch.testing.assert_close(y, block.global_local(own, read))


def test_a_block_of_two_depthwise_convolutions_adds_its_second_half() -> None:
    torch.manual_seed(0)
    x, tokens = torch.randn(2, 6, 8, 8), torch.randn(2, 3, 8)
    block = TwoDepthwise(6, 8, (6, 4), 8).eval()
    y, read = block(x, tokens)
    assert y.shape == (2, 8, 4, 4)
    first = block.conv2(block.hyper1(block.conv1(x), read))
    second = block.conv4(block.hyper3(block.conv3(first), read))
    torch.testing.assert_close(y, block.global_local(first + second, read))
