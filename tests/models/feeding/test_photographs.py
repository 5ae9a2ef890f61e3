"""Real photographs, in every kind of file: fed as timm and transformers feed them, to the value.

Files are read as transformers reads them: turned upright by their EXIF data, then made RGB. timm's
own folders do not turn them, so that its transforms are given the turned picture here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdeploy.models import feeding
from mvdeploy.models.feeding import folder, timm_config
from mvdeploy.models.preprocess import load_image, sample_photograph, view

KINDS = ("jpg", "EXIF", "grey", "palette", "alpha", "CMYK", "narrow", "small")
TIMM: dict[str, dict[str, Any]] = {
    "mobilevit": {
        "input_size": (3, 256, 256),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
    },
    "efficientnet": {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.5,) * 3},
    "bilinear": {"input_size": (3, 160, 160), "crop_pct": 0.95, "interpolation": "bilinear"},
    "squashed": {"input_size": (3, 224, 192), "crop_pct": 1.0, "crop_mode": "squash"},
}
SQUARE = {"height": 224, "width": 224}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "MobileViT": {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}},
    "ViT": {"size": SQUARE},
    "ConvNext": {"size": {"shortest_edge": 224}},
    "MobileNetV2": {"size": {"shortest_edge": 256}, "crop_size": SQUARE},
}


def photographs() -> dict[str, Path]:
    """Those that are installed; matplotlib's is always there."""
    found = {"hopper": sample_photograph()}
    for package, place in (
        ("sklearn", "datasets/images/china.jpg"),
        ("skimage", "data/chelsea.png"),
    ):
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / place if spec is not None and spec.origin else Path()
        if path.is_file():
            found[package] = path
    return found


def written(kind: str, photograph: Path, target: Path) -> Path:
    """Write a photograph as another kind of file."""
    with Image.open(photograph) as opened:
        picture = opened.convert("RGB")
    if kind == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(target / "a.jpg", exif=exif)
        return target / "a.jpg"
    made = {
        "jpg": lambda: picture,
        "grey": lambda: picture.convert("L"),
        "palette": lambda: picture.quantize(64),
        "alpha": lambda: Image.merge("RGBA", (*picture.split(), picture.convert("L"))),
        "CMYK": lambda: picture.convert("CMYK"),
        "narrow": lambda: picture.crop((0, 0, 101, picture.height)),
        "small": lambda: picture.resize((61, 47)),
    }[kind]()
    path = target / ("a.jpg" if kind in ("jpg", "grey", "CMYK") else "a.png")
    made.save(path)
    return path


FILES = [("jpg", name) for name in photographs()] + [(kind, "hopper") for kind in KINDS[1:]]


@pytest.fixture(params=FILES, ids="-".join)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind, name = request.param
    return written(kind, photographs()[name], tmp_path)


@pytest.mark.parametrize("case", TIMM)
def test_as_timm(references: Any, file: Path, case: str) -> None:
    from PIL import ImageOps

    data = references.timm.data
    transform = data.create_transform(**data.resolve_data_config({}, pretrained_cfg=TIMM[case]))
    feed = timm_config.read(TIMM[case], "a.json")
    assert feed.image_size is not None
    with Image.open(file) as image:
        expected = transform(ImageOps.exif_transpose(image).convert("RGB")).numpy()[None]
    fed = load_image(file, feeding.steps(feed, feed.image_size))
    assert fed.shape == expected.shape
    assert np.abs(fed - expected).max() <= 1e-6


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_as_transformers(references: Any, file: Path, tmp_path: Path, kind: str) -> None:
    transformers = references.transformers
    own = tmp_path / "own"
    getattr(transformers, f"{kind}ImageProcessor")(**TRANSFORMERS[kind]).save_pretrained(own)
    found = folder.read(own)
    assert found is not None and found[0].image_size is not None
    fed = load_image(file, feeding.steps(found[0], found[0].image_size))
    processor = transformers.AutoImageProcessor.from_pretrained(own)
    picture = transformers.image_utils.load_image(str(file))
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"])
    assert fed.shape == expected.shape
    assert np.abs(fed - expected).max() <= 2e-6


@pytest.mark.parametrize("case", TIMM)
def test_a_view_says_where_a_pixel_of_the_input_comes_from(tmp_path: Path, case: str) -> None:
    """A white square in a black picture is where its box says, to a pixel of the resized image."""
    feed = timm_config.read(TIMM[case], "a.json")
    assert feed.image_size is not None
    rule = feeding.steps(feed, feed.image_size)
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[120:180, 150:260] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    values = load_image(tmp_path / "a.png", rule)[0, 0]
    bright = values > (values.min() + values.max()) / 2
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    height, width = rule.crop
    sides = (columns[0] / width, rows[0] / height)
    ends = ((columns[-1] + 1) / width, (rows[-1] + 1) / height)
    seen = view(Image.fromarray(pixels), rule)
    assert seen.box((*sides, *ends)) == pytest.approx((150, 120, 260, 180), abs=1.5)
