from __future__ import annotations

import numpy as np

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
