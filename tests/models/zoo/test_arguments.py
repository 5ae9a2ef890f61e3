"""Keywords for what makes a network of a library or of a user's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _arguments
from mvdeploy.records import Arguments, ModelSpec, codec
from tests.warm import started

FILE = Path(__file__).with_name("networks.py")
SMALL = (("embed_dim", "48"), ("num_heads", "2"), ("depth", "1"), ("mlp_ratio", "1.5"))
DEIT = "timm:deit_tiny_patch16_224"


def test_values_are_what_they_look_like() -> None:
    texts = {
        "a": "2",
        "b": "-1e-5",
        "c": "true",
        "d": "None",
        "e": "2,2,6,2",
        "f": "gelu",
        "g": "3,",
    }
    found = _arguments.values(tuple(texts.items()))
    assert found == {
        "a": 2, "b": -1e-5, "c": True, "d": None, "e": [2, 2, 6, 2], "f": "gelu", "g": [3],
    }  # fmt: skip
    assert type(found["a"]) is int


def test_a_network_of_timm_is_made_with_them(tmp_path: Path) -> None:
    spec = models.make_spec(DEIT, arguments=SMALL, image_size=(32, 32), num_classes=3)
    assert spec.label == f"{DEIT} embed_dim=48 num_heads=2 depth=1 mlp_ratio=1.5"
    assert spec.slug == (
        "timm-deit_tiny_patch16_224-embed_dim-48-num_heads-2-depth-1-mlp_ratio-1.5-32"
    )
    codec.save(spec, tmp_path / "spec.json")
    assert codec.load(ModelSpec, tmp_path / "spec.json") == spec
    network = models.build(spec)
    assert network.get_submodule("blocks.0.mlp.fc1").weight.shape == (72, 48)
    assert models.make_spec(DEIT).arguments == ()


def test_a_type_of_transformers_is_made_with_them() -> None:
    small: Arguments = (
        ("hidden_size", "48"), ("num_hidden_layers", "1"), ("num_attention_heads", "2"),
        ("intermediate_size", "64"),
    )  # fmt: skip
    spec = models.make_spec("hf:vit", arguments=small, image_size=(32, 64), num_classes=3)
    network = models.build(spec)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 32, 64)).shape == (1, 3)
    positions = network.get_parameter("network.vit.embeddings.position_embeddings")
    assert positions.shape == (1, 1 + 2 * 4, 48)


def test_a_factory_is_called_with_them() -> None:
    spec = models.make_spec(f"{FILE}:needs_width", arguments=(("width", "6"),))
    assert models.build(spec).get_parameter("conv.weight").shape[0] == 6


REFUSED = {
    (DEIT, "embed_dimm=48"): r"no keyword of .* 'embed_dimm'\. Did you mean 'embed_dim'\?",
    (DEIT, "num_classes=4"): "Use --num-classes instead",
    (DEIT, "num_heads=5"): r"timm cannot build .* num_heads=5 \(dim should be divisible",
    (DEIT, "depth"): "'depth' is no keyword with its value",
    ("hf:vit", "hidden_sizes=4"): "Did you mean 'hidden_size'",
    ("hf:vit", "hidden_size=many"): "transformers cannot configure hf:vit hidden_size=many",
    ("hf:vit", "image_size=4"): "Use --image-size instead",
    (f"{FILE}:needs_width", "height=4"): "Choose one of: depth, width",
    (f"{FILE}:plain", "height=4"): "Choose one of: none",
    ("mobilevit_xxs", "depth=4"): "It takes 'attention' and 'depths'",
    ("pvt_tiny", "depth=4"): "pvt_tiny takes no keywords",
}


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_what_is_not_taken_is_refused(name: str, text: str) -> None:
    from mvdeploy.records.spec import parse_arguments

    with pytest.raises(UsageError, match=REFUSED[name, text]):
        models.make_spec(name, arguments=parse_arguments((text,)))


def test_they_are_typed(tmp_path: Path) -> None:
    typed = [part for name, value in SMALL for part in ("--model-arg", f"{name}={value}")]
    done = started("describe", DEIT, "--image-size", "32", *typed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "embed_dim=48" in done.stdout
    twice = started("describe", DEIT, *typed, "--model-arg", "depth=2", cwd=tmp_path)
    assert (twice.returncode, "--model-arg depth is given twice" in twice.stderr) == (2, True)
