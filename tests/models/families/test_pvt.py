from __future__ import annotations

import re

import pytest
import torch

from mvdeploy.errors import UsageError
from mvdeploy.models.families import pvt
from tests.models.families import published
from tests.models.families.published import ATTENTION, FFN, PRE_AND_POST


def test_counts() -> None:
    network = published.shapes_of(pvt, "pvt_tiny")
    assert published.parameters(network) == 13_229_288
    assert round(published.millions(network, 224, 224)) == 1941
    assert len(network.state_dict()) == 161


def test_shares() -> None:
    shares = published.shares(published.shapes_of(pvt, "pvt_tiny"), 224, 224)
    assert shares == pytest.approx({ATTENTION: 25, FFN: 70, PRE_AND_POST: 5}, abs=1.5)


def test_names_are_those_of_the_authors() -> None:
    weights = published.shapes_of(pvt, "pvt_tiny").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes["cls_token"] == (1, 1, 512)
    assert shapes["pos_embed1"] == (1, 3136, 64)
    assert shapes["pos_embed4"] == (1, 50, 512)
    assert shapes["patch_embed2.proj.weight"] == (128, 64, 2, 2)
    assert shapes["block1.1.attn.sr.weight"] == (64, 64, 8, 8)
    assert shapes["block3.0.attn.kv.bias"] == (640,)
    assert "block4.0.attn.sr.weight" not in shapes
    assert {"block4.1.mlp.fc2.bias", "norm.bias", "head.bias"} <= shapes.keys()


def test_it_is_that_of_transformers(references) -> None:
    transformers = references.transformers
    config = transformers.PvtConfig(image_size=64, num_labels=5)
    theirs = transformers.PvtForImageClassification(config).double().eval()
    # It has one epsilon for all; the authors' embeddings and reductions have PyTorch's own.
    for name, module in theirs.named_modules():
        if name.endswith("layer_norm") and ("patch_embeddings" in name or "attention" in name):
            module.eps = 1e-5
    network = published.small(pvt, "pvt_tiny", 64, 64)
    ours = network.state_dict()
    loaded = {}
    for name in theirs.state_dict():
        if "attention.self.key" in name or "attention.self.value" in name:
            kv = ours[own_name(name)]
            loaded[name] = kv.chunk(2)["value" in name]
        else:
            loaded[name] = ours[own_name(name)]
    assert {own_name(name) for name in loaded} == ours.keys()
    theirs.load_state_dict(loaded)
    images = published.pictures(64, 64)
    with torch.inference_mode():
        published.assert_agrees(network, images, theirs(images).logits)


def own_name(theirs: str) -> str:
    """Return our name of a tensor of transformers."""
    name = theirs.removeprefix("pvt.encoder.")
    stage = r"(?P<stage>\d)\.(?P<block>\d)\."
    for pattern, ours in (
        (r"layer_norm\.", "norm."),
        (r"classifier\.", "head."),
        (r"patch_embeddings\.(?P<stage>\d)\.position_embeddings", "pos_embed{stage}"),
        (r"patch_embeddings\.(?P<stage>\d)\.cls_token", "cls_token"),
        (r"patch_embeddings\.(?P<stage>\d)\.projection\.", "patch_embed{stage}.proj."),
        (r"patch_embeddings\.(?P<stage>\d)\.layer_norm\.", "patch_embed{stage}.norm."),
        (rf"block\.{stage}layer_norm_(?P<norm>\d)\.", "block{stage}.{block}.norm{norm}."),
        (rf"block\.{stage}mlp\.dense(?P<norm>\d)\.", "block{stage}.{block}.mlp.fc{norm}."),
        (rf"block\.{stage}attention\.self\.query\.", "block{stage}.{block}.attn.q."),
        (rf"block\.{stage}attention\.self\.(key|value)\.", "block{stage}.{block}.attn.kv."),
        (rf"block\.{stage}attention\.output\.dense\.", "block{stage}.{block}.attn.proj."),
        (rf"block\.{stage}attention\.self\.sequence_reduction\.", "block{stage}.{block}.attn.sr."),
        (rf"block\.{stage}attention\.self\.layer_norm\.", "block{stage}.{block}.attn.norm."),
    ):
        if match := re.match(pattern, name):
            groups = match.groupdict()
            if "stage" in groups:
                groups["stage"] = str(int(groups["stage"]) + 1)
            return ours.format(**groups) + name[match.end() :]
    raise AssertionError(theirs)


def test_other_images_and_classes() -> None:
    network = published.shapes_of(pvt, "pvt_tiny", image_size=(64, 32), num_classes=10)
    assert published.forward_pass(network, 64, 32) == (1, 10)
    with pytest.raises(UsageError, match="multiples of 32"):
        published.shapes_of(pvt, "pvt_tiny", image_size=(48, 64))
