"""Settings in a folder: followed, or refused with the name of the setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.records.spec import ImageChanges, ImageRule

XXS = "mobilevit_xxs"


@pytest.fixture
def folder(state: Any, tmp_path: Path) -> Path:
    save_file(state("transformers"), tmp_path / "model.safetensors")
    return tmp_path


def test_a_folder_carries_its_settings_into_the_spec(folder: Path) -> None:
    changed = {"do_flip_channel_order": False, "crop_size": 192, "size": 219, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(changed))
    spec = models.make_spec(XXS, weights=folder)
    rule = models.preprocessing(spec)
    assert spec.image_size == rule.crop == (192, 192)
    assert (rule.resize, rule.interpolation) == ((219, 219), "bicubic")
    assert rule.channel_order == "RGB"
    other = models.make_spec(
        XXS,
        weights=folder,
        image_size=(128, 160),
        images=ImageChanges(channel_order="BGR"),
    )
    rule = models.preprocessing(other)
    assert (rule.resize, rule.crop, rule.channel_order) == ((155, 187), (128, 160), "BGR")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mobilevitv2"}, "holds a model of type 'mobilevitv2'"),
        ({"hidden_act": "relu"}, "has hidden_act 'relu', but mvdeploy's MobileViT has 'silu'"),
        ({"num_attention_heads": 8}, "has num_attention_heads 8"),
        ({"layer_norm_eps": 1e-6}, "has layer_norm_eps 1e-06"),
        ({"output_stride": 16}, "has output_stride 16"),
        ({"patch_size": 0}, "'patch_size' is 0"),
        ({"patch_size": [2, 2]}, r"'patch_size' is \[2, 2\]"),
    ],
    ids=str,
)
def test_another_architecture_is_refused(
    folder: Path, config: dict[str, Any], message: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "mobilevit"} | config))
    with pytest.raises(UsageError, match=message):
        models.make_spec(XXS, weights=folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_settings_that_are_no_json_object(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} (is not valid JSON|holds no JSON object)"):
        models.make_spec(XXS, weights=folder)


def test_a_folder_of_timm_says_what_it_is_fed(state: Any, tmp_path: Path) -> None:
    save_file(state("timm"), tmp_path / "model.safetensors")
    plain = models.make_spec(XXS, weights=tmp_path)
    assert plain.weights is not None
    assert plain.weights.images == ImageRule(0.9, 0, "bicubic", rounding="timm")
    own = {"input_size": [3, 96, 128], "crop_pct": 0.75, "mean": [0.5] * 3, "std": [0.25] * 3}
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "mobilevit_xxs", "num_classes": 7, "pretrained_cfg": own})
    )
    spec = models.make_spec(XXS, weights=tmp_path)
    rule = models.preprocessing(spec)
    assert (rule.resize, rule.crop, spec.image_size) == ((128, 170), (96, 128), (96, 128))
    assert (rule.mean, rule.std, rule.channel_order) == ((0.5,) * 3, (0.25,) * 3, "RGB")
