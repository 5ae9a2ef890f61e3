"""Names of the classes: a text file, or what a folder of transformers or timm says."""

from __future__ import annotations

import codecs
import collections
import json
import re
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.records import TensorInfo

_ONE_EACH = "Give one label on each line, every one once, in the order of the classes."
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read(text: str) -> tuple[str, ...]:
    """Read the names of the classes from a file.

    Args:
        text: path of a text file with one label on each line, in UTF-8, or in UTF-16 with its mark;
            or of a JSON file: a list, or an object with ``id2label`` or ``label_names``.

    Raises:
        UsageError: the file cannot be read, holds none, or one of them twice.
    """
    path = Path(text)
    content = _decoded(path)
    if path.suffix == ".json":
        labels = _listed(content, path)
    else:
        # Not splitlines, for which many a character ends a line.
        labels = [line.strip() for line in re.split(r"\r\n?|\n", content.rstrip())]
    _check([label.strip() for label in labels], path)
    return tuple(label.strip() for label in labels)


def check(labels: tuple[str, ...], outputs: tuple[TensorInfo, ...]) -> None:
    """Refuse labels that are not those of a network.

    Raises:
        UsageError: it is no classifier, or has another number of classes.
    """
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise UsageError(
            f"Labels are for classifiers, but the network returns "
            f"{', '.join(output.name for output in outputs)}.",
            "Leave out --labels.",
        )
    classes = outputs[0].shape[1]
    if len(labels) != classes:
        raise UsageError(
            f"There are {len(labels)} labels, but the network has {classes} classes.", _ONE_EACH
        )


def _decoded(path: Path) -> str:
    try:
        content = reading.contents(path, what="a file of labels")
        encoding = _MARKS.get(content[:2], "utf-8-sig")
        text = content.decode(encoding)
    except OSError as error:
        raise UsageError(
            f"The labels cannot be read from {path} ({error.strerror or error}).",
            "Give a text file with one label on each line.",
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _foreign(path, f"line {line} has bytes that are no text in it") from error
    if "\0" in text:
        raise _foreign(path, "it has zero bytes")
    return text


def _foreign(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is not in UTF-8 ({why}).", "Save the labels as UTF-8.")


def _listed(content: str, path: Path) -> list[str]:
    """Return the labels in JSON, in the order of their classes."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON ({error}).", _ONE_EACH) from error
    if isinstance(found, dict):
        inner = found.get("pretrained_cfg")
        named = inner if isinstance(inner, dict) and "label_names" in inner else found
        found = named.get("id2label") or named.get("label_names") or found
    if isinstance(found, dict) and set(found) == {str(index) for index in range(len(found))}:
        found = [found[str(index)] for index in range(len(found))]
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise UsageError(
            f"{path} holds no list of labels.",
            "Give a list, or an object with 'id2label' (0, 1, … to names) or 'label_names'.",
        )
    return found


def _check(labels: list[str], path: Path) -> None:
    counts = collections.Counter(labels)
    twice = next((label for label, count in counts.items() if label and count > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has the label {twice!r} twice.", _ONE_EACH)
    if not any(labels):
        raise UsageError(f"{path} is empty.", _ONE_EACH)
    if not all(labels):
        raise UsageError(f"{path} has an empty line ({labels.index('') + 1}).", _ONE_EACH)
