"""Tensors as images of 8 bits, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.records import Artifact, ModelSpec, Preprocessing, TensorInfo
from mvdeploy.verify import images, inputs

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
    artifact = program("uint8", "NHWC", (1, 1, 2, 3))
    again = images.rounded(artifact, {"x": tensor, "n": np.ones(1, np.float32)})["x"]
    white = inputs.normalised(np.ones((1, 3, 1, 1), np.float32), artifact.preprocessing)
    assert (again <= white + 1e-6).all() and (again >= tensor.min() - 1.6).all()


def program(dtype: str, layout: str, shape: tuple[int, ...]) -> Artifact:
    """An artifact with one image as its input, in this form, and a number."""
    batch, *rest = shape
    size = tuple(rest[1:] if layout == "NCHW" else rest[:2])
    taken = TensorInfo("picture", shape, dtype, layout), TensorInfo("scale", (1,), "float32")
    spec = ModelSpec("", (), size, batch=batch)  # type: ignore[arg-type]
    rule = Preprocessing(size, size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.5, 1.0))  # type: ignore[arg-type]
    names = ("a", "", 0, "onnx", "fp32")
    return Artifact(*names, spec, (), taken, (), rule, {}, (), {}, 0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_program_is_fed_in_its_own_form(dtype: str, channels: int, layout: str) -> None:
    planes, last = (2, channels, 4, 6), (2, 4, 6, channels)
    artifact = program(dtype, layout, planes if layout == "NCHW" else last)
    whole = np.random.default_rng(0).integers(0, 256, planes).astype(np.float32) / 255
    network = inputs.normalised(whole, artifact.preprocessing)
    fed = images.fed(artifact, {"image": network, "number": np.ones(1, np.float32)})
    assert list(fed) == ["picture", "scale"]
    picture = fed["picture"]
    assert (str(picture.dtype), picture.shape) == (dtype, artifact.inputs[0].shape)
    assert picture.flags.c_contiguous
    back = images.unfed(artifact, fed)
    np.testing.assert_allclose(back["picture"], network, atol=5e-3 if dtype == "float16" else 1e-5)
    if dtype == "uint8":
        first = picture[0, 0, 0] if layout == "NHWC" else picture[0, :, 0, 0]
        assert first.tolist() == np.rint(whole[0, :, 0, 0] * 255).tolist()
