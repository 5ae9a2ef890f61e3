"""Tensors as images of 8 bits, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.records import Preprocessing
from mvdeploy.verify import images

ORDERS = st.sampled_from(["RGB", "BGR"])
NUMBERS = st.tuples(*[st.floats(0.1, 0.9)] * 3)


@given(order=ORDERS, mean=NUMBERS, std=NUMBERS, seed=st.integers(0, 100))
def test_an_image_survives_being_a_tensor(order: str, mean: tuple, std: tuple, seed: int) -> None:
    rule = Preprocessing((4, 6), (4, 6), channel_order=order, mean=mean, std=std)
    image = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    tensor = images.tensor(image, rule)
    assert tensor.shape == (1, 3, 4, 6)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(images.pixels(tensor, rule), image)


def test_red_is_where_the_network_has_it() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[..., 0] = 255
    for order, channel in (("RGB", 0), ("BGR", 2)):
        rule = Preprocessing((2, 2), (2, 2), channel_order=order)
        assert images.tensor(image, rule)[0].sum(axis=(1, 2)).argmax() == channel


def test_what_no_image_can_hold_is_clipped() -> None:
    rule = Preprocessing((1, 2), (1, 2))
    tensor = np.asarray([[[[-1.0, 2.0]]] * 3], dtype=np.float32).reshape(1, 3, 1, 2)
    assert images.pixels(tensor, rule)[0, :, 0].tolist() == [0, 255]
    again = images.rounded({"x": tensor}, rule)["x"]
    assert again.min() == 0 and again.max() == pytest.approx(1)
