"""timm's settings: images are those of timm's own transforms, or the setting is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.models.feeding import timm_config
from mvdeploy.models.preprocess import load_image

ODD = {"input_size": [3, 63, 64], "crop_pct": 0.8}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {"num_classes": 5},
    "share": {"input_size": [3, 64, 64], "crop_pct": 0.9, "interpolation": "bilinear"},
    "oblong": ODD,
    "squash": {**ODD, "crop_mode": "squash", "interpolation": "lanczos"},
    "statistics": {"input_size": [3, 64, 64], "mean": [0.0, 0.5, 1.0], "std": [1.0, 0.5, 0.25]},
}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (97, 150, 3), np.uint8)
    Image.fromarray(pixels).resize((215, 171)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_timms_transforms(references: Any, picture: Path, case: str) -> None:
    data = references.timm.data
    transform = data.create_transform(**data.resolve_data_config({}, pretrained_cfg=CASES[case]))
    feed = timm_config.read(CASES[case], "a.json")
    assert feed.image_size is not None
    with Image.open(picture) as image:
        expected = transform(image).numpy()[None]
    fed = load_image(picture, feeding.steps(feed, feed.image_size))
    assert fed.shape == expected.shape
    assert np.abs(fed - expected).max() <= 1e-6


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"crop_mode": "border"}, "crop_mode"),
        ({"input_size": [1, 224, 224]}, "input_size"),
        ({"input_size": 224}, "input_size"),
        ({"interpolation": "random"}, "interpolation"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [1, 1, "1"]}, "std"),
        ({"std": [1, 1, 0]}, "std"),
        ({"std": [1, 1, 1e-30]}, "std"),
        ({"interpolation": "x" * 10**5}, "interpolation"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=rf"a\.json cannot be followed: '{named}' is ") as caught:
        timm_config.read(changed, "a.json")
    assert len(caught.value.message) < 500


def test_a_network_of_timm_is_fed_by_its_configuration(references: Any) -> None:
    rule = models.preprocessing(models.make_spec("timm:deit_tiny_patch16_224"))
    assert (rule.resize, rule.crop, rule.interpolation) == ((248, 248), (224, 224), "bicubic")
    assert (rule.mean, rule.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
