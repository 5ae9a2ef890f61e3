"""Settings of image processors: followed as transformers follows them, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.models.feeding import Feed, folder, image_processors
from mvdeploy.models.preprocess import load_image
from mvdeploy.records.spec import ImageRule

HERE = Path("folder/preprocessor_config.json")
RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

PUBLISHED = {
    "crop_size": 256,
    "do_center_crop": True,
    "do_flip_channel_order": True,
    "do_resize": True,
    "feature_extractor_type": "MobileViTFeatureExtractor",
    "resample": 2,
    "size": 288,
}


def rule(**changes: Any) -> ImageRule:
    return ImageRule(**{"rounding": "transformers", **changes})


def read(settings: dict[str, Any], kind: str = "") -> Feed:
    return image_processors.read(settings, HERE, kind)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Feed("BGR", rule(), (256, 256))),
        ({"do_flip_channel_order": False}, Feed("RGB", rule(), (256, 256))),
        ({"resample": 3}, Feed("BGR", rule(interpolation="bicubic"), (256, 256))),
        ({"size": {"shortest_edge": 224}}, Feed("BGR", rule(margin=-32), (256, 256))),
        (
            {"crop_size": {"height": 192, "width": 256}},
            Feed("BGR", rule(margin=96, fit="shortest"), (192, 256)),
        ),
        ({"do_center_crop": False}, Feed("BGR", rule(margin=0), (288, 288))),
        ({"rescale_factor": 1 / 127.5}, Feed("BGR", rule(scale=1 / 127.5), (256, 256))),
        ({"do_rescale": False}, Feed("BGR", rule(scale=1.0), (256, 256))),
        # This class has the words, but does not do it.
        ({"do_normalize": True, "image_mean": [0.5] * 3}, Feed("BGR", rule(), (256, 256))),
        (
            {"size": {"height": 288, "width": 288}},
            Feed("BGR", rule(fit="stretch"), (256, 256)),
        ),
    ],
    ids=str,
)
def test_settings_are_followed(changed: dict[str, Any], expected: Feed) -> None:
    assert read(PUBLISHED | changed) == expected


def of(kind: str, **settings: Any) -> dict[str, Any]:
    return {"image_processor_type": f"{kind}ImageProcessor", **settings}


CUBIC = {"interpolation": "bicubic", "margin": 0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (of("ViT"), Feed("RGB", rule(margin=0, fit="stretch", **HALF), (224, 224))),
        (of("ViT", do_normalize=False), Feed("RGB", rule(margin=0, fit="stretch"), (224, 224))),
        (
            of("ViT", image_mean=0.25, image_std=[1, 2, 4], size=192),
            Feed(
                "RGB",
                rule(margin=0, fit="stretch", mean=(0.25,) * 3, std=(1.0, 2.0, 4.0)),
                (192, 192),
            ),
        ),
        (
            of("ConvNext", size={"shortest_edge": 224}, image_mean=RGB_MEAN, image_std=RGB_STD),
            Feed("RGB", rule(**CUBIC, crop_share=0.875, mean=RGB_MEAN, std=RGB_STD), (224, 224)),
        ),
        (of("ConvNext"), Feed("RGB", rule(**CUBIC, fit="stretch", **HALF), (384, 384))),
        (
            of("DeiT"),
            Feed("RGB", rule(interpolation="bicubic", fit="stretch", **HALF), (224, 224)),
        ),
        (
            of("Levit"),
            Feed("RGB", rule(interpolation="bicubic", mean=RGB_MEAN, std=RGB_STD), (224, 224)),
        ),
        (
            of("EfficientNet", rescale_offset=True, size=64),
            Feed(
                "RGB",
                rule(**CUBIC, fit="stretch", mean=(1.5,) * 3, std=(0.25,) * 3),
                (64, 64),
            ),
        ),
        ({"image_processor_type": "ViTImageProcessorFast"}, read(of("ViT"))),
        ({"image_processor_type": "ViTImageProcessorPil"}, read(of("ViT"))),
        ({"image_processor_type": None}, read(of("ViT"))),
    ],
    ids=str,
)
def test_what_is_not_said_is_as_the_class_has_it(settings: dict[str, Any], expected: Feed) -> None:
    assert read(settings, kind="swin") == expected


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"do_pad": True}, "do_pad"),
        ({"size": {"height": 256, "width": 320}}, "size"),
        ({"size": {"shortest_edge": 256, "longest_edge": 320}}, "size"),
        ({"size": "288"}, "size"),
        ({"size": 0}, "size"),
        ({"size": {"shortest_edge": True}}, "size"),
        ({"crop_size": {"height": 256}}, "crop_size"),
        ({"crop_size": -1}, "crop_size"),
        ({"resample": 9}, "resample"),
        ({"resample": "bilinear"}, "resample"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"rescale_factor": 1e-30}, "rescale_factor"),
        ({"image_std": [1, 1e-30, 1]}, "image_std"),
        ({"do_resize": 1}, "do_resize"),
        ({"do_center_crop": "false"}, "do_center_crop"),
        ({"do_rescale": "true"}, "do_rescale"),
        ({"do_normalize": 1}, "do_normalize"),
        ({"do_flip_channel_order": "no"}, "do_flip_channel_order"),
        ({"image_processor_type": "\x1b" * 10**5}, "image_processor_type"),
        ({"image_std": [1, 0, 1]}, "image_std"),
        ({"image_mean": [1, 0]}, "image_mean"),
        ({"feature_extractor_type": "PerceiverFeatureExtractor"}, "image_processor_type"),
        ({"image_processor_type": "NewImageProcessor"}, "image_processor_type"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(
        UsageError, match=f"preprocessor_config.json cannot be followed: '{named}'"
    ) as caught:
        read(PUBLISHED | changed)
    assert len(caught.value.message) < 500 and "\x1b" not in caught.value.message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["height", "width"]), inner),
)
KEYS = [*PUBLISHED, "do_rescale", "rescale_factor", "image_mean", "image_std", "crop_pct"]


@given(
    st.sampled_from(["MobileViT", "ViT", "ConvNext"]),
    st.dictionaries(st.sampled_from(KEYS), values),
)
def test_any_settings_are_followed_or_refused(kind: str, settings: dict[str, Any]) -> None:
    try:
        feed = read(settings, kind)
    except UsageError as error:
        assert "cannot be followed" in error.message
        return
    assert feed.channel_order in ("RGB", "BGR")
    assert feed.images.resized(256) >= 1


sides = st.integers(32, 1024)


@given(
    st.sampled_from([("RGB", False), ("RGB", True), ("BGR", False)]),
    sides,
    st.integers(0, 200),
    st.sampled_from(["bilinear", "bicubic"]),
    st.sampled_from(["cover", "stretch"]),
)
def test_settings_that_are_written_are_read_again(
    order: tuple[str, bool], side: int, margin: int, interpolation: str, fit: str
) -> None:
    channels = {"mean": RGB_MEAN, "std": RGB_STD} if order[1] else {}
    images = rule(margin=margin, interpolation=interpolation, fit=fit, **channels)
    feed = Feed(order[0], images, (side, side))
    assert read(json.loads(json.dumps(image_processors.write(feed)))) == feed


def test_no_processor_normalises_bgr() -> None:
    with pytest.raises(UsageError, match="No image processor of transformers feeds BGR with mean"):
        image_processors.write(Feed("BGR", rule(**HALF), (64, 64)))


@pytest.mark.parametrize(
    ("model", "resize", "fit"),
    [
        ("vit", (64, 64), "stretch"),
        ("deit", (96, 96), "stretch"),
        ("convnext", (73, 73), "cover"),
        ("levit", (73, 73), "cover"),
        ("mobilevitv2", (96, 96), "cover"),
    ],
)
def test_a_type_without_a_file_is_fed_as_is_usual(
    model: str, resize: tuple[int, int], fit: str
) -> None:
    feed = image_processors.usual(model, (64, 64))
    assert feed is not None
    steps = feeding.steps(feed, (64, 64))
    assert (steps.resize, steps.crop, steps.fit) == (resize, (64, 64), fit)
    assert image_processors.usual("some_new_type", (64, 64)) is None


# The libraries' own processors, saved by themselves

SQUARE = {"height": 64, "width": 64}
PROCESSORS: dict[str, dict[str, Any]] = {
    "MobileViT": {"size": {"shortest_edge": 72}, "crop_size": SQUARE},
    "ViT": {"size": SQUARE},
    "ConvNext": {"size": {"shortest_edge": 64}, "image_mean": RGB_MEAN, "image_std": RGB_STD},
    "DeiT": {"size": {"height": 72, "width": 80}, "crop_size": {"height": 64, "width": 72}},
    "CLIP": {"size": {"shortest_edge": 61}, "crop_size": {"height": 70, "width": 64}},
    "Levit": {"size": {"shortest_edge": 60}, "crop_size": SQUARE, "resample": 1},
    "PoolFormer": {"size": {"shortest_edge": 64}, "crop_size": SQUARE},
    "EfficientNet": {"size": SQUARE, "rescale_offset": True},
    "MobileNetV2": {"size": {"shortest_edge": 71}, "crop_size": SQUARE},
    "Siglip": {"size": SQUARE, "do_rescale": False, "do_normalize": False},
}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth and sharp, of odd sides."""
    y, x = np.mgrid[:171, :215]
    waves = [np.sin(x / 7) * np.cos(y / 11), np.sin(x * y / 900), (x // 9 + y // 9) % 2 * 2 - 1]
    pixels = (np.stack(waves, -1) * 127 + 128).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_are_those_of_the_real_processor(
    references: Any, picture: Path, tmp_path: Path, kind: str
) -> None:
    transformers = references.transformers
    made = getattr(transformers, f"{kind}ImageProcessor")(**PROCESSORS[kind])
    made.save_pretrained(tmp_path)
    found = folder.read(tmp_path)
    assert found is not None
    feed = found[0]
    assert feed.image_size is not None
    fed = load_image(picture, feeding.steps(feed, feed.image_size))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    with Image.open(picture) as image:
        expected = np.asarray(processor(image, return_tensors="np")["pixel_values"])
    assert fed.shape == expected.shape
    scale = 255.0 if kind == "Siglip" else 1.0
    assert np.abs(fed - expected).max() <= 1e-6 * scale
    assert np.abs(fed[:, ::-1] - expected).max() > 0.1


@pytest.mark.parametrize("kind", ["ViT", "MobileViT"])
def test_pillow_differs_by_one_level_at_most(
    references: Any, picture: Path, tmp_path: Path, kind: str
) -> None:
    """The slow processor rounds the weights of its filter at another bit."""
    made = getattr(references.transformers, f"{kind}ImageProcessorPil")(**PROCESSORS[kind])
    made.save_pretrained(tmp_path)
    found = folder.read(tmp_path)
    assert found is not None
    feed = found[0]
    assert feed.image_size is not None
    steps = feeding.steps(feed, feed.image_size)
    with Image.open(picture) as image:
        expected = made(image, return_tensors="np")["pixel_values"]
    levels = np.abs(load_image(picture, steps) - expected) * steps.std[0] * 255
    assert levels.max() < 1.01
    assert (levels > 0.5).mean() < 0.02


@pytest.mark.parametrize("kind", ["ViT", "ConvNext"])
def test_a_folder_is_fed_alike_by_either_name(
    references: Any, picture: Path, tmp_path: Path, kind: str
) -> None:
    transformers = references.transformers
    channels = {"hidden_sizes": [64, 80, 96], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320]}
    config = transformers.MobileViTConfig(**channels, expand_ratio=2.0, num_labels=5, image_size=32)
    transformers.MobileViTForImageClassification(config).save_pretrained(tmp_path)
    made = getattr(transformers, f"{kind}ImageProcessor")(**PROCESSORS[kind])
    made.save_pretrained(tmp_path)
    with Image.open(picture) as image:
        expected = np.asarray(made(image, return_tensors="np")["pixel_values"])
    for spec in (
        models.make_spec("mobilevit_xxs", weights=tmp_path),
        models.make_spec(f"hf:{tmp_path}"),
    ):
        assert spec.image_size == (64, 64)
        fed = load_image(picture, models.preprocessing(spec))
        assert np.abs(fed - expected).max() <= 1e-6
