from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families import vil
from mvdeploy.models.families.vil.network import FullAttention, ViL, WindowedAttention
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs", "tensors"),
    [
        ("vil_tiny", 6_719_698, 1466, 229),
        ("vil_tiny_ape", 6_707_080, 1466, 195),
        ("vil_small", 24_657_328, 5327, 237),
    ],
)
def test_published_counts(name: str, parameters: int, macs: int, tensors: int) -> None:
    found = measure(vil, name)
    assert (found.parameters, round(found.macs), len(found.names)) == (parameters, macs, tensors)


def test_shares_and_names() -> None:
    found = measure(vil, "vil_tiny")
    percent = {Category.ATTENTION: 49, Category.FFN: 48, Category.PRE_AND_POST: 4}
    assert found.shares == pytest.approx(percent, abs=1.5)
    assert {
        "layer1.0.cls_token",
        "layer1.1.attn.query_global.weight",  # the same tensor as attn.query.weight
        "layer1.1.attn.relative_position_index",
        "layer2.1.attn.g2l_relative_position_bias",
        "layer3.17.attn.g2g_relative_position_bias",
        "layer4.1.attn.local_relative_position_bias_table",
        "layer4.2.mlp.fc2.bias",
        "norm.weight",
    } <= set(found.names)
    ape = set(measure(vil, "vil_tiny_ape").names)
    assert {"layer3.0.x_pos_embed", "layer4.0.cls_pos_embed"} <= ape
    assert not any("relative" in name for name in ape)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("size", [(14, 21), (10, 9)])
def test_a_pixel_sees_nine_windows_and_the_global_token(
    relative: bool, size: tuple[int, int]
) -> None:
    """Against attention of all to all, masked pair by pair; 10x9 needs padding."""
    torch.manual_seed(0)
    heads, channels = 2, 8
    height, width = size
    attention = WindowedAttention(channels, heads, size, relative).double()
    x = torch.rand(3, 1 + height * width, channels, dtype=torch.float64)
    places = [(i, j) for i in range(height) for j in range(width)]
    bias = torch.zeros(heads, len(places) + 1, len(places) + 1, dtype=torch.float64)
    if relative:
        bias[:, 0, 0] = attention.g2g_relative_position_bias[:, 0, 0]
        bias[:, 0, 1:] = attention.g2l_relative_position_bias[0]
        bias[:, 1:, 0] = attention.g2l_relative_position_bias[1]
    for query, (i, j) in enumerate(places, start=1):
        for key, (p, r) in enumerate(places, start=1):
            if max(abs(i // 7 - p // 7), abs(j // 7 - r // 7)) > 1:
                bias[:, query, key] = -torch.inf
            elif relative:
                row = (i - p + 13) * 27 + j - r + 13
                bias[:, query, key] = attention.local_relative_position_bias_table[row]
    q, k, v = (
        part.unflatten(2, (heads, -1)).transpose(1, 2)
        for part in (attention.query(x), *attention.kv(x).chunk(2, dim=2))
    )
    weights = (q @ k.transpose(2, 3) / (channels // heads) ** 0.5 + bias).softmax(-1)
    expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected)


def test_biases_of_full_attention_are_by_distance() -> None:
    torch.manual_seed(0)
    attention = FullAttention(8, 2, (3, 4), has_global=True, relative=True)
    bias = attention.pixel_bias()
    assert bias is not None and bias.shape == (2, 12, 13)
    table = attention.local_relative_position_bias_table
    # The query (1, 2) and the key (2, 0), after the global one; 2·4-1 columns of distances.
    assert torch.equal(bias[:, 4 + 2, 1 + 8], table[(1 - 2 + 2) * 7 + 2 - 0 + 3])
    assert torch.equal(bias[:, 5, :1], attention.g2l_relative_position_bias[1])
    assert attention.global_bias(12).shape == (2, 1, 13)


def test_weights_depend_on_the_image_size() -> None:
    spec = models.make_spec("vil_tiny", image_size=(64, 96), num_classes=5)
    network = vil.build(spec).eval()
    table = network.state_dict()["layer3.1.attn.local_relative_position_bias_table"]
    assert tuple(table.shape) == (7 * 11, 3)  # a map of 4x6
    with torch.inference_mode():
        assert network(torch.rand(2, 3, 64, 96)).shape == (2, 5)
    with pytest.raises(UsageError, match="multiples of 32"):
        models.make_spec("vil_tiny", image_size=(64, 72))


def test_a_checkpoint_with_its_tied_layers_loads(tmp_path: Path) -> None:
    stages = ((48, 1, 1), (96, 3, 1), (192, 3, 9), (384, 6, 1))
    saved = ViL(stages, relative=True, image_size=(64, 64), num_classes=3).eval()
    torch.save({"net": saved.state_dict()}, tmp_path / "vil.pth")
    spec = models.make_spec("vil_tiny", image_size=(64, 64), weights=tmp_path / "vil.pth")
    assert spec.num_classes == 3
    network = models.build(spec)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), saved(image))
