"""Files that say which class a folder or a label is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import reading

_SYNSET = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"\d{1,9}")


def read(path: Path) -> tuple[dict[str, int], dict[int, str]]:
    """Read a class map: name of a folder or label → class, and names of classes.

    Three forms are read: a JSON object ``{"folder": 3}``; lines ``folder 3`` (also with a comma or
    a tab between); or lines ``folder name of the class`` or ``folder`` in the order of the classes,
    as ImageNet's ``n01440764 tench``.

    Raises:
        UsageError: it is not there or of none of these forms, or names a folder twice.
    """
    try:
        text = reading.text(path, what="a class map", encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"There is no class map {path}.", "Check --class-map.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as a class map ({error}).", "Save it as text in UTF-8."
        ) from error
    if text.lstrip().startswith(("{", "[")):
        return _of_json(text, path), {}
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{path} is empty.", "Give a line for each class, as in 'folder 3'.")
    pairs = [_split_last(line) for line in lines]
    numbered = [number is not None for _, number in pairs]
    if all(numbered):
        numbers = [(name, number) for name, number in pairs if number is not None]
        return _once(numbers, path), {}
    if any(numbered) and not all(_SYNSET.fullmatch(line.split()[0]) for line in lines):
        line = lines[numbered.index(False)]
        raise UsageError(
            f"{path} gives a number for some folders, and none in the line {line[:80]!r}.",
            "Give a number in every line, as in 'folder 3', or in none.",
        )
    return _in_order(lines, path)


def _in_order(lines: list[str], path: Path) -> tuple[dict[str, int], dict[int, str]]:
    folders, titles = [], {}
    for number, line in enumerate(lines):
        folder, _, title = line.partition("\t") if "\t" in line else line.partition(" ")
        folders.append((folder.strip(), number))
        if title.strip():
            titles[number] = title.strip()
    return _once(folders, path), titles


def _split_last(line: str) -> tuple[str, int | None]:
    """Return the name and the number of a line; None where it ends in no number."""
    match = re.fullmatch(r"(.*?\S)\s*[,\t ]\s*(\d{1,9})", line)
    return (match[1].rstrip(","), int(match[2])) if match else (line, None)


def _of_json(text: str, path: Path) -> dict[str, int]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid JSON ({error}).", 'Give an object such as {"folder": 3}.'
        ) from error
    entries = list(read.items()) if isinstance(read, dict) else []
    wrong = next((k for k, v in entries if type(v) is not int or v < 0), None)
    if not entries or wrong is not None:
        what = f"the class of {wrong!r} is no whole number" if wrong else "it is no such object"
        raise UsageError(f"{path} is no class map: {what}.", 'Give JSON such as {"folder": 3}.')
    return dict(entries)


def _once(pairs: list[tuple[str, int]], path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, number in pairs:
        if found.setdefault(name, number) != number:
            raise UsageError(
                f"{path} gives two classes to {name!r}: {found[name]} and {number}.",
                "Leave one out.",
            )
    return found
