from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvdeploy.errors import UsageError
from mvdeploy.models.feeding import pictures
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


def test_there_is_always_a_photograph() -> None:
    found = load_image(sample_photograph(), Preprocessing((72, 72), (64, 64)))
    assert found.std() > 0.1


# What Pillow would clip, or leave out


def scene() -> np.ndarray:
    return np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("16 bits.png", scene().astype(np.uint16) * 257),
        ("16 bits in 32.tif", scene().astype(np.int32) * 257),
        ("8 bits in 32.tif", scene().astype(np.int32)),
        ("to 1.tif", scene().astype(np.float32) / 255),
        ("to 255.tif", scene().astype(np.float32)),
        ("to 65535.tif", scene().astype(np.float32) * 257),
    ],
)
def test_numbers_of_other_ranges_are_scaled(tmp_path: Path, name: str, values: np.ndarray) -> None:
    plain = load_image(save(tmp_path / "plain.png", scene()), PLAIN)
    np.testing.assert_array_equal(load_image(save(tmp_path / name, values), PLAIN), plain)


def test_a_dark_image_of_16_bits_stays_dark(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8), 257, np.uint16))
    np.testing.assert_allclose(load_image(path, PLAIN), 1 / 255, rtol=1e-6)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1e12])
def test_numbers_without_a_range_are_refused(tmp_path: Path, value: float) -> None:
    values = np.ones((8, 8), np.float32)
    values[3, 3] = value
    with pytest.raises(UsageError, match=r"cannot be read as an image \(its values|\(it has neg"):
        load_image(save(tmp_path / "a.tif", values), PLAIN)


def test_colours_under_an_alpha_channel_are_fed(tmp_path: Path) -> None:
    """As Pillow converts, which torchvision's loaders do."""
    pixels = np.dstack([quarters(8, 8), np.zeros((8, 8), np.uint8)])
    found = load_image(save(tmp_path / "a.png", pixels), PLAIN)
    np.testing.assert_array_equal(
        found, load_image(save(tmp_path / "b.png", quarters(8, 8)), PLAIN)
    )


def test_of_moving_images_the_first_is_fed(tmp_path: Path) -> None:
    first, later = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[later, later])
    assert load_image(tmp_path / "a.gif", PLAIN).min() == 1


@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"])
def test_metadata_that_cannot_be_read_are_ignored(tmp_path: Path, exif: bytes) -> None:
    path = save(tmp_path / "a.jpg", quarters(8, 8), exif=exif, quality=100)
    assert load_image(path, PLAIN).shape == (1, 3, 8, 8)


@pytest.mark.filterwarnings("error")
def test_pillow_warns_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", quarters(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    assert load_image(path, PLAIN).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"hello", "of no kind that Pillow knows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "of no kind that Pillow knows"),
        (encoded("JPEG")[:-40], "truncated"),
    ],
)
def test_what_is_no_whole_image_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(
        UsageError, match=rf"cannot be read as an image \(.*{reason}.*\)\."
    ) as caught:
        load_image(tmp_path / "a", PLAIN)
    assert caught.value.message.count(". ") == 0


def test_an_image_that_would_become_too_long_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((1, 30000, 3), np.uint8))
    with pytest.raises(UsageError, match="too long and thin: 30000x1 pixels would become 7680000x"):
        load_image(path, Preprocessing((256, 256), (256, 256)))


# Resizing and cropping


def test_stretching_changes_the_proportions(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters(20, 60))
    found = load_image(path, Preprocessing((8, 8), (8, 8), "nearest", fit="stretch"))
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0) * 255, quarters(8, 8))


def test_a_small_image_is_padded_with_black(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8, 3), 255, np.uint8))
    for rounding, places in (("plain", slice(2, 10)), ("transformers", slice(1, 9))):
        rule = Preprocessing((8, 8), (11, 8), mean=(0.5, 0.5, 0.5), rounding=rounding)
        rows = load_image(path, rule)[0, 0, :, 0]
        assert (rows[places] == 0.5).all()
        assert rows.sum() == 8 * 0.5 - 3 * 0.5


@pytest.mark.parametrize(("rounding", "first"), [("plain", 3), ("transformers", 3), ("timm", 4)])
def test_a_crop_begins_where_the_library_begins_it(
    tmp_path: Path, rounding: str, first: int
) -> None:
    pixels = np.repeat(np.arange(15, dtype=np.uint8)[:, None], 15, axis=1)
    path = save(tmp_path / "a.png", pixels)
    found = load_image(path, Preprocessing((15, 15), (8, 8), rounding=rounding))
    assert round(float(found[0, 0, 0, 0] * 255)) == first


def test_a_picture_is_bounded_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("L", (100, 100)).save(path)
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 5_001, 8, 0, 0, 0, 0)
    whole = path.read_bytes()
    start = whole.index(b"IHDR")
    checksum = struct.pack(">I", zlib.crc32(header))
    path.write_bytes(whole[:start] + header + checksum + whole[start + 21 :])
    with pytest.raises(UsageError, match=r"more than the 100,000,000 pixels that are decoded"):
        pictures.read(path)
    before = Image.MAX_IMAGE_PIXELS
    Image.new("L", (100, 100)).save(path)
    assert pictures.read(path).size == (100, 100)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_picture_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n")
    with pytest.raises(UsageError, match="a program in PostScript, which is not run"):
        pictures.read(path)


def test_why_a_file_is_no_image_in_a_clause(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    save(tmp_path / "thin.png", np.zeros((1, 30000, 3), np.uint8))
    said = {}
    for name in ("a.png", "pipe.png", "thin.png"):
        with pytest.raises(UsageError) as caught:
            load_image(tmp_path / name, Preprocessing((256, 256), (256, 256)))
        said[name] = pictures.why(caught.value, tmp_path / name)
    assert said["a.png"] == "it is empty"
    assert said["pipe.png"] == "it is a pipe"
    assert said["thin.png"].startswith("The image is too long and thin: 30000x1")


@pytest.mark.parametrize("mode", ["P", "L", "1", "I", "I;16"])
def test_pixels_that_are_numbers(tmp_path: Path, mode: str) -> None:
    values = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(values * (255 if mode == "1" else 1))
    image = Image.fromarray(values, "P") if mode == "P" else image.convert(mode)
    if mode == "P":
        image.putpalette([9, 9, 9, 200, 0, 0])
    path = tmp_path / ("a.tif" if mode == "I" else "a.png")
    image.save(path)
    found = pictures.numbers(path)
    assert found.dtype == np.int64
    assert found.tolist() == values.tolist()


def test_colours_are_no_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters(8, 8))
    with pytest.raises(UsageError, match="its pixels are no numbers but of the kind RGB"):
        pictures.numbers(path)
