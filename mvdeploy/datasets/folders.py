"""A folder for each class, with its images in it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mvdeploy.datasets import Data, Gathered, Request, is_image
from mvdeploy.text_format import count

TASKS = ("classify",)
USAGE = "a folder with a folder of images for each class"


def fits(place: Path) -> bool:
    """Say whether there is a folder in it that is not known to be something else's."""
    if not place.is_dir():
        return False
    others = {"JPEGImages", "annotations"}
    inner = _subfolders(place)
    return bool(inner) and not others & set(inner)


def read(request: Request) -> Data:
    """Read the names of all images; the sorted names of the folders are the classes.

    With a class map, folders are of the classes that it says, and those that it lacks are unknown.
    """
    root = request.place
    found = Gathered(request)
    folders = _subfolders(root)
    for entry in sorted(os.listdir(root)):
        if entry not in folders:
            found.problem("not_listed", entry, "it lies in no folder of a class")
    titles: dict[int, str] = {}
    for number, folder in enumerate(folders):
        kind, reason = "", ""
        if request.class_map is not None:
            number = request.class_map.get(folder, -1)
        if number < 0:
            kind, reason = "unknown_label", "the class map lacks the folder"
        elif number >= request.classes:
            kind, reason = "class_outside", f"class {number} of {request.classes}"
        if kind:
            there = sum(map(is_image, (n for *_, names in os.walk(root / folder) for n in names)))
            found.problem(kind, f"{folder}/", f"{reason}; {count(there, 'image')} in it")
            continue
        titles.setdefault(number, folder)
        before = len(found.paths)
        readable = _images(root, folder, found, number)
        if readable and len(found.paths) == before:
            found.problem("empty_class", f"{folder}/")
    data = found.data("folders", root, titles)
    if request.class_map is None and len(folders) != request.classes:
        note = (
            f"There are {count(len(folders), 'folder')} and {request.classes:,} classes: the "
            "sorted folders were taken for the first classes. If they are others, say which with "
            "--class-map."
        )
        data = dataclasses.replace(data, notes=(note,))
    return data


def _subfolders(root: Path) -> list[str]:
    """Return the names of the folders in one, sorted; links to folders count."""
    names = []
    with os.scandir(root) as entries:
        for entry in entries:
            try:
                if not entry.name.startswith(".") and entry.is_dir():
                    names.append(entry.name)
            except OSError:  # a link that leads to itself
                continue
    return sorted(names)


def _images(root: Path, folder: str, found: Gathered, number: int) -> bool:
    """Add the images below a folder; return whether it could be looked into.

    Links to folders further down are not followed: they may lead in circles.
    """
    readable = True

    def failed(error: OSError) -> None:
        nonlocal readable
        readable = readable and error.filename != str(root / folder)
        where = os.path.relpath(str(error.filename or root / folder), root)
        found.problem("unreadable", f"{where}/", error.strerror or str(error))

    for place, inner, files in os.walk(root / folder, onerror=failed):
        inner.sort()
        relative = Path(place).relative_to(root).as_posix()
        for name in inner:
            if os.path.islink(os.path.join(place, name)):
                found.problem("unreadable", f"{relative}/{name}/", "links are not followed here")
        for name in sorted(files):
            if is_image(name):
                found.add(f"{relative}/{name}", number)
            else:
                found.problem("no_image", f"{relative}/{name}")
    return readable
