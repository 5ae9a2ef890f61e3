from __future__ import annotations

import dataclasses

import numpy as np

from mvdeploy.records import Preprocessing, TensorInfo
from mvdeploy.verify import inputs

SHAPE = (2, 3, 5, 7)


def test_inputs_are_images_that_differ() -> None:
    made = inputs.synthetic(SHAPE)
    assert len(made) >= 4
    for image in made.values():
        assert (image.shape, image.dtype) == (SHAPE, np.float32)
        assert image.flags.c_contiguous
        assert image.min() >= 0 and image.max() <= 1
    images = list(made.values())
    for i, image in enumerate(images):
        assert all(np.abs(image - other).max() > 0.4 for other in images[:i])


def test_the_seed_decides_the_noise() -> None:
    a, b, c = (inputs.synthetic(SHAPE, seed)["noise"] for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


RULE = Preprocessing((5, 7), (5, 7), mean=(0.5, 0.4, 0.3), std=(0.2, 0.5, 1.0))
TOKENS = TensorInfo("tokens", (2, 4), "int64", values=(3, 9))
IMAGE = TensorInfo("image", SHAPE, "float32", "NCHW")


def test_images_are_normalised_as_the_network_is_fed() -> None:
    photograph = np.full(SHAPE, 0.25, np.float32)
    made = inputs.feeds((IMAGE,), RULE, {"image": photograph})
    assert list(made) == ["photograph", "noise", "ramp", "black", "white"]
    assert np.array_equal(made["photograph"]["image"], photograph)
    for channel, (mean, std) in enumerate(zip(RULE.mean, RULE.std, strict=True)):
        np.testing.assert_allclose(made["black"]["image"][:, channel], -mean / std, rtol=1e-6)
        np.testing.assert_allclose(made["white"]["image"][:, channel], (1 - mean) / std, rtol=1e-6)


def test_other_inputs_get_values_of_their_range() -> None:
    made = inputs.feeds((TOKENS, IMAGE), RULE, {"image": np.zeros(SHAPE, np.float32)})
    for feed in made.values():
        assert list(feed) == ["tokens", "image"]
        tokens = feed["tokens"]
        assert (tokens.dtype, tokens.shape) == (np.int64, (2, 4))
        assert tokens.min() >= 3 and tokens.max() <= 9
    assert len({feed["tokens"].tobytes() for feed in made.values()}) > 3


def test_without_images_there_are_noise_and_extremes() -> None:
    scale = TensorInfo("scale", (), "float32", values=(-2.0, 2.0))
    made = inputs.feeds((TOKENS, scale), RULE, {})
    assert list(made) == ["noise", "least", "most"]
    assert (made["least"]["tokens"] == 3).all() and (made["most"]["tokens"] == 9).all()
    assert made["least"]["scale"] == -2.0 and made["most"]["scale"] == 2.0
    assert -2 <= made["noise"]["scale"] <= 2
    again = inputs.feeds((TOKENS, scale), RULE, {})
    np.testing.assert_array_equal(made["noise"]["tokens"], again["noise"]["tokens"])


def test_images_of_one_batch_differ() -> None:
    image = TensorInfo("image", (3, 3, 8, 8), "float32", "NCHW")
    row = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    made = inputs.feeds((image,), RULE, {"image": np.repeat(row, 3, 0)})
    for name in ("photograph", "noise", "ramp"):
        first, *others = made[name]["image"]
        assert all(abs(first - other).max() > 0.1 for other in others), name


def test_what_takes_any_number_of_images_is_fed_several_different_ones() -> None:
    image = TensorInfo("image", (1, 3, 8, 8), "float32", "NCHW")
    made = inputs.feeds((image,), RULE, {"image": np.full((1, 3, 8, 8), 0.3, np.float32)})
    assert inputs.with_batches(made, (image,)) is made
    free = dataclasses.replace(image, shape=("batch", 3, 8, 8))
    more = inputs.with_batches(made, (free,))
    assert list(more) == [*made, "2 images", "3 images"]
    for count in (2, 3):
        images = more[f"{count} images"]["image"]
        assert images.shape == (count, 3, 8, 8)
        assert len({x.tobytes() for x in images}) == count
