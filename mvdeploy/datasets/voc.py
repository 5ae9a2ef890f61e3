"""PASCAL VOC: pictures and masks in which every pixel has the number of its class."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mvdeploy.datasets import Data, Problem, Request
from mvdeploy.errors import UsageError
from mvdeploy.files import reading

TASKS = ("segment",)
USAGE = (
    "a folder of PASCAL VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt; "
    "--split takes another list)"
)

_SPLITS = "ImageSets/Segmentation"
_USUAL = "val"
_SIMPLE = re.compile(r"[^/\\\0]+")
TITLES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def fits(place: Path) -> bool:
    """Say whether the folders of pictures and masks are there."""
    return (place / "JPEGImages").is_dir() and (place / "SegmentationClass").is_dir()


def read(request: Request) -> Data:
    """Read the names of a list; the truth of a picture is the path of its mask.

    Raises:
        UsageError: there is no such list.
    """
    root = request.place
    folder = root / _SPLITS
    there = sorted(p.stem for p in folder.glob("*.txt")) if folder.is_dir() else []
    split = request.split or (_USUAL if _USUAL in there or len(there) != 1 else there[0])
    if split not in there:
        raise UsageError(
            f"{root} has no list {_SPLITS}/{split}.txt (it has {', '.join(there) or 'none'}).",
            "Give one of them with --split.",
        )
    text = reading.text(folder / f"{split}.txt", what="a list", encoding="utf-8-sig")
    problems: list[Problem] = []
    paths: list[str] = []
    masks: list[str] = []
    for name in dict.fromkeys(line.strip() for line in text.split("\n")):
        if not name:
            continue
        if not _SIMPLE.fullmatch(name) or name in (".", ".."):
            problems.append(Problem("outside", name, "it is no plain name"))
            continue
        path, mask = f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png"
        lacking = next((one for one in (path, mask) if not os.path.isfile(root / one)), None)
        if lacking is not None:
            problems.append(Problem("missing", lacking, ""))
            continue
        paths.append(path)
        masks.append(mask)
    titles = dict(enumerate(TITLES)) if request.classes == len(TITLES) else {}
    return Data("voc", root, paths, masks, titles, tuple(problems))
