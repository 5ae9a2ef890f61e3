"""Resizing as torch does it, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvdeploy.models.feeding import resampling


@pytest.mark.parametrize("interpolation", resampling.FILTERS)
@pytest.mark.parametrize(
    ("before", "after"),
    [((90, 71), (40, 33)), ((37, 91), (72, 84)), ((64, 48), (64, 20)), ((5, 1), (3, 9))],
)
def test_pixels_are_those_of_torch(
    interpolation: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        tensor, size=after, mode=interpolation, antialias=True, align_corners=False
    )
    expected = resized[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(resampling.resize(image, *after, interpolation), expected)
