"""What is asked for instead of a network's own preprocessing."""

from __future__ import annotations

from typing import Any

import pytest

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.records import ModelSpec, Preprocessing, codec
from mvdeploy.records.spec import ImageChanges, parse_channels

OWN = Preprocessing((96, 96), (64, 64), "bicubic", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"mean": (0.5, 0.25, 0.0)}, "mean", (0.5, 0.25, 0.0)),
        ({"std": (1.0, 0.5, 0.25)}, "std", (1.0, 0.5, 0.25)),
        ({"crop": 0.875}, "resize", (73, 73)),
        ({"crop": 1.0}, "resize", (64, 64)),
        ({"interpolation": "hamming"}, "interpolation", "hamming"),
        ({"channel_order": "BGR"}, "channel_order", "BGR"),
    ],
    ids=str,
)
def test_one_thing_is_changed_and_the_others_stay(
    changes: dict[str, Any], field: str, value: object
) -> None:
    found = vars(feeding.changed(OWN, ImageChanges(**changes)))
    assert found == {**vars(OWN), field: value}
    assert found != vars(OWN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (123.675, 0.0, 0.0)}, r"123\.675 is more than .* 0\.\.1 first.*is 0\.485"),
        ({"std": (58.395,) * 3}, r"58\.395 is more than any pixel has"),
        ({"std": (1.0, 0.0, 1.0)}, "is not above 0"),
        ({"std": (1.0, 1e-30, 1.0)}, "of 1e-30 is less than any images have"),
        ({"crop": 1e-9}, "resized to 56000000000x56000000000, which is more than"),
        ({"crop": 0.0}, "A crop of 0 is no share"),
        ({"crop": 224.0}, "A crop of 224 is no share"),
        ({"crop": float("nan")}, "A crop of nan is no share"),
        ({"interpolation": "cubic"}, "There is no interpolation 'cubic'.*'bicubic'"),
        ({"channel_order": "rgb"}, "There is no channel order 'rgb'"),
    ],
    ids=str,
)
def test_what_no_image_is_fed_by_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.make_spec("yardstick", images=ImageChanges(**changes))


def test_of_values_that_are_not_scaled_the_mean_is_in_them() -> None:
    raw = Preprocessing((8, 8), (8, 8), scale=1.0)
    assert feeding.changed(raw, ImageChanges(mean=(123.675,) * 3)).mean == (123.675,) * 3


def test_a_spec_keeps_what_was_asked_for() -> None:
    asked = ImageChanges(mean=(0.5, 0.5, 0.5), channel_order="BGR")
    spec = models.make_spec("mobilevit_xxs", images=asked)
    assert spec == models.make_spec("mobilevit_xxs", images=asked)
    assert spec != models.make_spec("mobilevit_xxs")
    assert codec.loads(ModelSpec, codec.dumps(spec), "test") == spec
    rule = models.preprocessing(spec)
    assert (rule.mean, rule.channel_order, rule.crop) == (asked.mean, "BGR", (256, 256))


@pytest.mark.parametrize("text", ["", "a", "1,2", "1,2,3,4", "nan", "1,inf,2", "0x1"])
def test_what_is_no_number_for_each_channel(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number for each channel"):
        parse_channels(text)


def test_numbers_for_each_channel() -> None:
    assert parse_channels("0.5") == (0.5, 0.5, 0.5)
    assert parse_channels("0.485, 0.456,-1e-1") == (0.485, 0.456, -0.1)


def test_in_words() -> None:
    assert feeding.describe(OWN) == (
        "RGB, shorter side to 96 (bicubic), centre 64x64, values 0..1, mean 0.1/0.2/0.3, "
        "std 0.4/0.5/0.6"
    )
    stretched = Preprocessing((64, 48), (64, 48), scale=1.0, channel_order="BGR", fit="stretch")
    assert feeding.describe(stretched) == "BGR, stretched to 64x48 (bilinear), values 0..255"
    covering = Preprocessing((64, 48), (60, 48), std=(0.5,) * 3)
    assert feeding.describe(covering) == (
        "RGB, resized to cover 64x48 (bilinear), centre 60x48, values 0..1, mean 0, std 0.5"
    )
