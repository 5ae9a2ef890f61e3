"""config.json and preprocessor_config.json: followed, or refused with the setting's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit.checkpoints import transformers_files as extras
from mvdeploy.models.families.mobilevit.checkpoints.transformers_files import Feed
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records.spec import ImageRule

HERE = Path("folder")
PLAIN = Feed("BGR", ImageRule())
XXS = "mobilevit_xxs"

PUBLISHED = {
    "crop_size": 256,
    "do_center_crop": True,
    "do_flip_channel_order": True,
    "do_resize": True,
    "feature_extractor_type": "MobileViTFeatureExtractor",
    "resample": 2,
    "size": 288,
}


@pytest.fixture
def folder(state: Any, tmp_path: Path) -> Path:
    save_file(state("transformers"), tmp_path / "model.safetensors")
    return tmp_path


def read(settings: dict[str, Any]) -> Feed:
    return extras.read_feed(settings, PLAIN, HERE)


def test_the_published_settings_are_the_default() -> None:
    assert read(PUBLISHED) == Feed("BGR", ImageRule(), (256, 256))
    assert read({}) == PLAIN


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"do_flip_channel_order": False}, Feed("RGB", ImageRule(), (256, 256))),
        ({"resample": 3}, Feed("BGR", ImageRule(interpolation="bicubic"), (256, 256))),
        ({"size": {"shortest_edge": 224}}, Feed("BGR", ImageRule(margin=-32), (256, 256))),
        (
            {"crop_size": {"height": 192, "width": 256}},
            Feed("BGR", ImageRule(margin=96), (192, 256)),
        ),
        ({"do_center_crop": False}, Feed("BGR", ImageRule(margin=0), (288, 288))),
        ({"rescale_factor": 1 / 127.5}, Feed("BGR", ImageRule(scale=1 / 127.5), (256, 256))),
        ({"do_rescale": False}, Feed("BGR", ImageRule(scale=1.0), (256, 256))),
    ],
    ids=str,
)
def test_settings_are_followed(changed: dict[str, Any], expected: Feed) -> None:
    assert read(PUBLISHED | changed) == expected


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"size": {"height": 256, "width": 320}}, "size"),
        ({"size": "288"}, "size"),
        ({"size": 0}, "size"),
        ({"size": {"shortest_edge": True}}, "size"),
        ({"crop_size": {"height": 256}}, "crop_size"),
        ({"crop_size": -1}, "crop_size"),
        ({"resample": 9}, "resample"),
        ({"resample": "bilinear"}, "resample"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"rescale_factor": None}, "rescale_factor"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"preprocessor_config.json cannot be followed: '{named}'"):
        read(PUBLISHED | changed)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["height", "width"]), inner),
)


@given(st.dictionaries(st.sampled_from([*PUBLISHED, "do_rescale", "rescale_factor"]), values))
def test_any_settings_are_followed_or_refused(settings: dict[str, Any]) -> None:
    try:
        feed = read(settings)
    except UsageError as error:
        assert "cannot be followed" in error.message
        return
    assert feed.channel_order in ("RGB", "BGR")
    assert feed.images.resized(256) >= 1


sides = st.integers(32, 1024)


@given(
    st.sampled_from(["RGB", "BGR"]),
    st.tuples(sides, sides),
    st.integers(0, 200),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_settings_that_are_written_are_read_again(
    order: str, size: tuple[int, int], margin: int, interpolation: str
) -> None:
    feed = Feed(order, ImageRule(margin=margin, interpolation=interpolation), size)
    assert read(json.loads(json.dumps(extras.write_feed(feed)))) == feed


def test_a_folder_carries_its_settings_into_the_spec(folder: Path) -> None:
    changed = {"do_flip_channel_order": False, "crop_size": 192, "size": 219, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(PUBLISHED | changed))
    spec = models.make_spec(XXS, weights=folder)
    rule = models.preprocessing(spec)
    assert spec.image_size == rule.crop == (192, 192)
    assert (rule.resize, rule.interpolation) == ((219, 219), "bicubic")
    assert rule.channel_order == "RGB"
    other = models.make_spec(XXS, weights=folder, image_size=(128, 160), channel_order="BGR")
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
    with pytest.raises(UsageError, match=f"{name} (is not valid JSON|holds no settings)"):
        models.make_spec(XXS, weights=folder)


@pytest.mark.parametrize("flips", [True, False])
@pytest.mark.parametrize("size", [288, 224])
def test_images_are_those_of_the_real_processor(
    references: Any, folder: Path, flips: bool, size: int, tmp_path: Path
) -> None:
    """transformers' own image processor, saved by itself, on a photograph."""
    from PIL import Image

    processor = references.transformers.MobileViTImageProcessor(
        size={"shortest_edge": size}, resample=2, do_flip_channel_order=flips
    )
    processor.save_pretrained(folder)
    rule = models.preprocessing(models.make_spec(XXS, weights=folder))
    with Image.open(sample_photograph()) as opened:
        image = opened.convert("RGB").resize((512, 640))
    image.save(tmp_path / "photograph.png")
    found = load_image(tmp_path / "photograph.png", rule)
    expected = processor(image, return_tensors="np")["pixel_values"]
    assert found.shape == expected.shape == (1, 3, 256, 256)
    # Two libraries resize: they round to 8 bits at other places.
    assert np.abs(found - expected).max() <= 3 / 255
    swapped = found[:, ::-1]
    assert np.abs(swapped - expected).max() > 0.1
