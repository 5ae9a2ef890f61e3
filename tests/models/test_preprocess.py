from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvdeploy.errors import UsageError
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records import Preprocessing


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def quarters(height: int, width: int) -> np.ndarray:
    """Red, green / blue, white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    pixels[height // 2 :, width // 2 :] = 255
    return pixels


PLAIN = Preprocessing(resize=(8, 8), crop=(8, 8))


def test_an_image_of_the_right_size_goes_in_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    path = save(tmp_path / "a.png", pixels)
    found = load_image(path, Preprocessing((6, 8), (6, 8)))
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((1, 3, 6, 8), np.float32, True)
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), pixels / 255, atol=1e-7)


def test_channels_may_be_the_other_way_round(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters(8, 8))
    rgb = load_image(path, PLAIN)
    bgr = load_image(path, Preprocessing((8, 8), (8, 8), channel_order="BGR"))
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(bgr, rgb[:, ::-1])


def test_mean_and_std_are_of_each_channel_in_channel_order(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8, 3), (255, 102, 51), np.uint8))
    order = {"mean": (0.5, 0.25, 0.125), "std": (0.5, 2.0, 4.0)}
    rgb = load_image(path, Preprocessing((8, 8), (8, 8), **order))
    assert rgb[0, :, 3, 3].tolist() == pytest.approx([1.0, 0.075, 0.01875])
    bgr = load_image(path, Preprocessing((8, 8), (8, 8), channel_order="BGR", **order))
    assert bgr[0, :, 3, 3].tolist() == pytest.approx([-0.6, 0.075, 0.21875])


def test_a_batch_repeats_the_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters(8, 8))
    found = load_image(path, PLAIN, batch=3)
    assert found.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(found[2:], load_image(path, PLAIN))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_any_image_covers_the_input_and_keeps_its_middle(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, crop_h: int, crop_w: int
) -> None:
    path = tmp_path_factory.mktemp("images") / "a.png"
    save(path, quarters(height, width))
    rule = Preprocessing((crop_h + 4, crop_w + 4), (crop_h, crop_w))
    found = load_image(path, rule)
    assert found.shape == (1, 3, crop_h, crop_w)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40), (20, 90)])
def test_proportions_are_kept_and_the_centre_is_taken(
    tmp_path: Path, height: int, width: int
) -> None:
    # A disc in the middle is a disc of the same relative size after resizing and cropping.
    y, x = np.mgrid[:height, :width] + 0.5
    side = min(height, width)
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.3 * side) ** 2
    path = save(tmp_path / "a.png", np.repeat(inside[..., None] * np.uint8(255), 3, axis=2))
    found = load_image(path, Preprocessing((100, 100), (80, 80)))[0, 0] > 0.5
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    for cells in (rows, columns):
        assert cells.size == pytest.approx(60, abs=4)
        assert cells.mean() == pytest.approx(39.5, abs=2)


def test_the_camera_held_upright_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    path = save(tmp_path / "a.png", quarters(8, 8), exif=exif)
    found = load_image(path, PLAIN)
    assert found[0, :, 0, 0].tolist() == [0, 0, 1]  # blue was at the lower left


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_kind_of_image_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    grey = Image.fromarray(np.full((8, 8), 255, np.uint8))
    image = Image.new(mode, (8, 8)) if mode == "I;16" else grey.convert("RGB").convert(mode)
    image.save(path)
    found = load_image(path, PLAIN)
    assert found.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(found, 0 if mode == "I;16" else 1)


def test_interpolations_differ(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters(7, 7))
    linear = load_image(path, Preprocessing((9, 9), (9, 9)))
    cubic = load_image(path, Preprocessing((9, 9), (9, 9), interpolation="bicubic"))
    assert np.abs(linear - cubic).max() > 0.01


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no file .*none\.jpg"):
        load_image(tmp_path / "none.jpg", PLAIN)


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(quarters(24, 24)).save(stream, form, exif=exif)
    return stream.getvalue()


FILES = [encoded(form) for form in ("PNG", "JPEG", "TIFF", "WEBP")] + [b"GIF89a" + bytes(40), b""]


@given(
    st.sampled_from(FILES),
    st.integers(0, 3000),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_an_image_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, end: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(data[:end])
    for place, value in changes:
        if place < len(damaged):
            damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        found = load_image(path, PLAIN)
    except UsageError as error:
        assert "damaged cannot be read as an image" in error.message
    else:
        assert np.isfinite(found).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_broken_header_is_a_usage_error(tmp_path: Path, form: str) -> None:
    """Pillow's own error for these is a SyntaxError or worse."""
    data, path, refused = encoded(form), tmp_path / "a", 0
    for place in range(min(len(data), 120)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            load_image(path, PLAIN)
        except UsageError:
            refused += 1
    assert refused > 5


def test_a_folder_and_text_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a picture")
    for path in (tmp_path, tmp_path / "a.jpg"):
        with pytest.raises(UsageError, match="cannot be read as an image"):
            load_image(path, PLAIN)


def test_an_image_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", quarters(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UsageError, match="cannot be read as an image"):
        load_image(path, PLAIN)


def test_there_is_always_a_photograph() -> None:
    found = load_image(sample_photograph(), Preprocessing((72, 72), (64, 64)))
    assert found.std() > 0.1
