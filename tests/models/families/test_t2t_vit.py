from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families import t2t_vit
from mvdeploy.models.families.t2t_vit import network as t2t
from tests.models.families import by_name, published
from tests.models.families.by_name import Weights
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


@pytest.mark.parametrize(
    ("name", "parameters", "trained", "millions", "tensors"),
    [
        ("t2t_vit_7", 4_310_222, 4_255_694, 1149.8, 111),
        ("t2t_vit_12", 6_941_902, 6_887_374, 1766.6, 166),
    ],
)
def test_counts(name: str, parameters: int, trained: int, millions: float, tensors: int) -> None:
    network = published.shapes_of(t2t_vit, name)
    assert published.parameters(network) == parameters
    assert models.parameter_count(network) == trained
    assert round(published.millions(network, 224, 224), 1) == millions
    assert len(network.state_dict()) == tensors


def test_the_whole_tokens_to_token_module_is_preparation() -> None:
    shares = published.shares(published.shapes_of(t2t_vit, "t2t_vit_7"), 224, 224)
    assert shares == pytest.approx({ATTENTION: 44, FFN: 31, PRE_AND_POST: 25}, abs=1.5)


def test_names_are_those_of_the_authors() -> None:
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in published.shapes_of(t2t_vit, "t2t_vit_7").state_dict().items()
    }
    assert shapes["tokens_to_token.attention1.kqv.weight"] == (192, 147)
    assert shapes["tokens_to_token.attention2.w"] == (32, 64)
    assert shapes["tokens_to_token.attention2.mlp.2.bias"] == (64,)
    assert shapes["tokens_to_token.project.weight"] == (256, 576)
    assert shapes["pos_embed"] == (1, 197, 256)
    assert shapes["blocks.6.attn.qkv.weight"] == (768, 256)
    assert "blocks.6.attn.qkv.bias" not in shapes
    assert shapes["blocks.6.mlp.fc1.weight"] == (512, 256)
    assert {"cls_token", "norm.weight", "head.bias"} <= shapes.keys()


def rewritten(weights: Weights, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    tokens = weights.below("tokens_to_token")
    x = F.unfold(x, 7, padding=2, stride=4).transpose(1, 2)
    x = performer(tokens.below("attention1"), x)
    x = F.unfold(by_name.on_map(x, height // 4, width // 4), 3, padding=1, stride=2)
    x = performer(tokens.below("attention2"), x.transpose(1, 2))
    x = F.unfold(by_name.on_map(x, height // 8, width // 8), 3, padding=1, stride=2)
    x = tokens.linear("project", x.transpose(1, 2))
    x = by_name.with_class(weights["cls_token"], x) + weights["pos_embed"]
    for i in range(7):
        block = weights.below(f"blocks.{i}")
        x = x + block.attention("attn", block.layer_norm("norm1", x, 1e-5), heads=4)
        x = x + block.perceptron("mlp", block.layer_norm("norm2", x, 1e-5))
    return weights.linear("head", weights.layer_norm("norm", x, 1e-5)[:, 0])


def performer(weights: Weights, x: Tensor) -> Tensor:
    k, q, v = weights.linear("kqv", weights.layer_norm("norm1", x, 1e-5)).split(64, dim=-1)

    def phi(x: Tensor) -> Tensor:
        exponent = torch.einsum("bti,mi->btm", x, weights["w"]) - x.pow(2).sum(-1, True) / 2
        return exponent.exp() / math.sqrt(32)

    # Each token with each, as the linear form avoids it.
    kernel = torch.einsum("btm,bsm->bts", phi(q), phi(k))
    mixed = (kernel / (kernel.sum(-1, keepdim=True) + 1e-8)) @ v
    x = v + weights.linear("proj", mixed)
    hidden = F.gelu(weights.linear("mlp.0", weights.layer_norm("norm2", x, 1e-5)))
    return x + weights.linear("mlp.2", hidden)


def test_it_is_what_a_plain_rewrite_is() -> None:
    network = published.small(t2t_vit, "t2t_vit_7", 64, 48)
    with torch.no_grad():
        for performer in (m for m in network.modules() if isinstance(m, t2t.TokenPerformer)):
            performer.kqv.weight.mul_(0.2)  # with longer keys and queries their kernel is 0
    weights, images = Weights(network.state_dict()), published.pictures(64, 48)
    with torch.inference_mode():
        expected = rewritten(weights, images)
    published.assert_agrees(network, images, expected)
    assert not weights.unused()


def test_random_features_are_orthogonal() -> None:
    w = t2t.TokenPerformer(147).w
    torch.testing.assert_close(w @ w.T, 32 * torch.eye(32), atol=1e-4, rtol=0)
    assert not w.requires_grad


def test_positions_are_sines_and_cosines() -> None:
    spec = dataclasses.replace(t2t_vit.defaults("t2t_vit_7"), image_size=(32, 32))
    table = t2t_vit.build(spec).pos_embed[0]
    assert table.shape == (5, 256)
    torch.testing.assert_close(table[0, :4], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    angle = 3 / 10000 ** (6 / 256)
    torch.testing.assert_close(table[3, 6:8], torch.tensor([math.sin(angle), math.cos(angle)]))


def test_other_images_and_classes() -> None:
    network = published.shapes_of(t2t_vit, "t2t_vit_7", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 16"):
        published.shapes_of(t2t_vit, "t2t_vit_7", image_size=(100, 96))


def test_a_checkpoint_of_the_authors_loads(tmp_path: Path) -> None:
    small = {"image_size": (32, 32), "num_classes": 5}
    theirs = t2t_vit.build(dataclasses.replace(t2t_vit.defaults("t2t_vit_7"), **small))
    published.randomised(theirs)
    # As timm's saver writes it: among other things, and averaged.
    torch.save({"epoch": 3, "state_dict_ema": theirs.state_dict()}, tmp_path / "71.7.pth.tar")
    spec = models.make_spec("t2t_vit_7", image_size=(32, 32), weights=tmp_path / "71.7.pth.tar")
    assert spec.num_classes == 5
    ours: nn.Module = models.build(spec)
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))
