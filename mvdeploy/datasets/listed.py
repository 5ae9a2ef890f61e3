"""Images in one folder and a text file with a class for each, as ImageNet's validation set."""

from __future__ import annotations

import os
from pathlib import Path

from mvdeploy.datasets import Data, Gathered, Request, inside, is_image
from mvdeploy.errors import UsageError
from mvdeploy.files import reading

TASKS = ("classify",)
USAGE = "images with a text file of lines 'image.jpg 65' (the folder of both, or the text file)"

_ENDING = ".txt"
_LIST = 500 * reading.MB


def fits(place: Path) -> bool:
    """Say whether it is such a text file, or a folder with one and without other folders."""
    if place.is_dir():
        with os.scandir(place) as entries:
            kept = [entry for entry in entries if not entry.name.startswith(".")]
        return bool(_lists(place)) and not any(entry.is_dir() for entry in kept)
    return place.suffix.lower() == _ENDING


def read(request: Request) -> Data:
    """Read the lines; paths start from the folder of the text file.

    Raises:
        UsageError: a folder has several text files, or no line is a path and a class.
    """
    file = _list_in(request.place) if request.place.is_dir() else request.place
    root = file.parent
    found = Gathered(request)
    there = {name for name in os.listdir(root) if is_image(name)}
    listed: set[str] = set()
    text = reading.text(file, limit=_LIST, what="a list of labels", encoding="utf-8-sig")
    right = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
        if not name.strip():
            found.problem("truth", f"{file.name}:{number}", "it is no image and a class")
            continue
        right += 1
        name, label = name.strip(), label.strip()
        listed.add(name)
        label_is(found, request, name, label, there, root)
    if not right:
        raise UsageError(
            f"{file} has no line with an image and its class.",
            "Give lines such as 'ILSVRC2012_val_00000001.JPEG 65'; classes begin at 0.",
        )
    for name in sorted(there - listed):
        found.problem("not_listed", name, f"{file.name} does not name it")
    return found.data("listed", root)


def label_is(
    found: Gathered, request: Request, name: str, label: str, there: set[str], root: Path
) -> None:
    """Take an image with its label as a file says it, or note why not.

    Args:
        found: what there is so far.
        request: with a class map, which goes before numbers.
        name: path of the image.
        label: a number, or a name in the class map.
        there: paths that are known to be there.
        root: folder that the path starts from.
    """
    if not name or not inside(name):
        found.problem("outside", name or "an empty path", "paths start from the file's folder")
    elif name not in there and not os.path.isfile(root / name):
        found.problem("missing", name)
    elif request.class_map is not None and label in request.class_map:
        found.add(name, request.class_map[label])
    elif label.isascii() and label.isdecimal() and len(label) < 10:
        found.add(name, int(label))
    else:
        found.problem("unknown_label", name, f"its label is {label[:80]!r}")


def _lists(folder: Path) -> list[str]:
    return sorted(n for n in os.listdir(folder) if n.lower().endswith(_ENDING) and n[0] != ".")


def _list_in(folder: Path) -> Path:
    names = _lists(folder)
    if len(names) > 1:
        raise UsageError(
            f"{folder} has {len(names)} text files ({', '.join(names[:5])}).",
            "Give the one with the labels after --data.",
        )
    return folder / names[0]
