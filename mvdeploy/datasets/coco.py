"""COCO: pictures, and a JSON file with the boxes of the objects in them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdeploy.datasets import Data, Problem, Request, inside
from mvdeploy.errors import UsageError
from mvdeploy.files import reading

TASKS = ("detect",)
USAGE = (
    "a JSON file of COCO's instances, or the folder with annotations/instances_SPLIT.json (--split "
    "where there are several)"
)

_PREFIX = "instances_"
_USUAL = "val2017"


def fits(place: Path) -> bool:
    """Say whether it is a JSON file, or has a folder of annotations."""
    if place.is_dir():
        return (place / "annotations").is_dir()
    return place.suffix.lower() == ".json"


def read(request: Request) -> Data:
    """Read the images of the file; the truth of each is its number there.

    `Data.source` is a dict: ``instances`` (what the file says), ``classes`` (number of a category
    → class of the network), ``sizes`` (number of an image → width and height, pixels).

    Raises:
        UsageError: it is no such file, or its categories are not the network's classes.
    """
    file = _file(request)
    said = _instances(file)
    classes, note = _classes(said, request.classes, file)
    folder = _pictures(file, said["images"])
    problems: list[Problem] = []
    images: dict[str, int] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for image in said["images"]:
        name, number = image["file_name"], image["id"]
        if not inside(name):
            problems.append(Problem("outside", name, "paths start from the folder of pictures"))
        elif name in images or number in sizes:
            problems.append(Problem("repeated", name, ""))
        elif not os.path.isfile(folder / name):
            problems.append(Problem("missing", name, ""))
        else:
            images[name] = number
            sizes[number] = (image["width"], image["height"])
    titles = {classes[c["id"]]: str(c.get("name", c["id"])) for c in said["categories"]}
    source = {"instances": said, "classes": classes, "sizes": sizes}
    return Data(
        "coco",
        folder,
        list(images),
        list(images.values()),
        titles,
        tuple(problems),
        source,
        (note,) if note else (),
    )


def _file(request: Request) -> Path:
    place = request.place
    if not place.is_dir():
        return place
    found = sorted((place / "annotations").glob(f"{_PREFIX}*.json"))
    by_split = {file.stem.removeprefix(_PREFIX): file for file in found}
    split = request.split or (next(iter(by_split)) if len(by_split) == 1 else _USUAL)
    if split not in by_split:
        raise UsageError(
            f"{place} has no file annotations/{_PREFIX}{split}.json (it has "
            f"{', '.join(by_split) or 'none'}).",
            "Give one of them with --split, or the file itself after --data.",
        )
    return by_split[split]


def _instances(file: Path) -> dict[str, Any]:
    try:
        text = reading.text(file, limit=4 * reading.RECORD, what="annotations")
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not valid JSON ({error}).", "Fetch it again.") from error
    try:
        return {
            "images": [_image(one) for one in said["images"]],
            "categories": [{"id": int(c["id"]), "name": c["name"]} for c in said["categories"]],
            "annotations": [_box(n, one) for n, one in enumerate(said["annotations"], start=1)],
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{file} is no file of COCO's instances ({type(error).__name__}: {error}).",
            "Give one with images, annotations with boxes, and categories.",
        ) from error


def _image(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": int(one["id"]),
        "file_name": str(one["file_name"]),
        "width": int(one["width"]),
        "height": int(one["height"]),
    }


def _box(number: int, one: Mapping[str, Any]) -> dict[str, Any]:
    left, top, width, height = map(float, one["bbox"])
    return {
        "id": number,
        "image_id": int(one["image_id"]),
        "category_id": int(one["category_id"]),
        "bbox": [left, top, width, height],
        "area": float(one.get("area", width * height)),
        "iscrowd": int(one.get("iscrowd", 0)),
    }


def _classes(said: Mapping[str, Any], classes: int, file: Path) -> tuple[dict[int, int], str]:
    """Return the class of each category. Class 0 is the background.

    COCO's 80 categories have numbers up to 90. A network with one class for each has them in the
    order of their numbers; one with more classes has the numbers themselves.
    """
    numbers = sorted(category["id"] for category in said["categories"])
    distinct = len({*numbers}) == len(numbers)
    if distinct and len(numbers) == classes - 1:
        return {number: place for place, number in enumerate(numbers, start=1)}, ""
    if distinct and numbers and numbers[0] >= 1 and numbers[-1] < classes:
        note = (
            f"The data set has {len(numbers)} categories and the network {classes} classes: the "
            "numbers of the categories were taken for those of the classes."
        )
        return {number: number for number in numbers}, note
    raise UsageError(
        f"{file} has {len(numbers)} categories, and the network {max(classes - 1, 0)} classes "
        "beside the background.",
        "Give annotations with the categories that the network was trained for.",
    )


def _pictures(file: Path, images: list[dict[str, Any]]) -> Path:
    """Return the folder in which the first pictures are."""
    split = file.stem.removeprefix(_PREFIX)
    around = (file.parent, file.parent.parent)
    places = [place / name for place in around for name in (split, "images", f"images/{split}", "")]
    named = [one["file_name"] for one in images[:20] if inside(one["file_name"])]
    for place in places:
        if any(os.path.isfile(place / name) for name in named):
            return place
    return file.parent
