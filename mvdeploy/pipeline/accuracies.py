"""Accuracies of networks, from a table that the user has.

A CSV file with a header. The column ``model`` names the network as it is typed, or as reports call
it; the columns ``patches`` and ``image_size`` may say more. The line that says most holds.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

from mvdeploy.errors import UsageError, reason
from mvdeploy.files import reading
from mvdeploy.records import ModelSpec
from mvdeploy.records.codec import repeated
from mvdeploy.records.spec import PatchSize, parse_image_size, parse_patches
from mvdeploy.text_format import clean, elide

_MODEL, _PATCHES, _SIZE = "model", "patches", "image_size"
_WIDTH = 60
"""Characters of a foreign word in a message."""

_MOST = 1e100


@dataclasses.dataclass(frozen=True)
class _Line:
    """A line of the table.

    Attributes:
        number: in the file.
        model: as it is typed.
        patches: None for any.
        size: height and width in pixels; None for any.
        value: the accuracy.
    """

    number: int
    model: str
    patches: tuple[PatchSize, ...] | None
    size: tuple[int, int] | None
    value: float

    def fits(self, spec: ModelSpec) -> bool:
        return (
            self.model in (spec.model, spec.label)
            and self.patches in (None, spec.patches)
            and self.size in (None, spec.image_size)
        )

    @property
    def says(self) -> int:
        """How much it says of the network."""
        return sum(part is not None for part in (self.patches, self.size))


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """A table of accuracies.

    Attributes:
        path: of the file.
        column: that holds them.
        lines: in the order of the file.
    """

    path: Path
    column: str
    lines: tuple[_Line, ...]

    def of(self, specs: Sequence[ModelSpec]) -> dict[ModelSpec, float]:
        """Return the accuracy of each network that a line fits.

        Raises:
            UsageError: a line names none of them, or two lines say as much of one network.
        """
        names = {name: None for spec in specs for name in (spec.model, spec.label)}
        for line in self.lines:
            if line.model not in names:
                models = ", ".join(dict.fromkeys(spec.model for spec in specs))
                raise UsageError(
                    f"{self._line(line)} names '{_short(line.model)}', which is no network of "
                    f"this sweep ({models}).",
                    "Correct the name, or leave the line out.",
                )
        found: dict[ModelSpec, float] = {}
        for spec in specs:
            fitting = [line for line in self.lines if line.fits(spec)]
            most = max((line.says for line in fitting), default=0)
            best = [line for line in fitting if line.says == most]
            if len(best) > 1:
                raise UsageError(
                    f"{self._line(best[0])} and line {best[1].number} both say the accuracy of "
                    f"{spec.label} at {spec.image_size[0]}x{spec.image_size[1]}.",
                    "Leave one of them out, or give both patches and image_size.",
                )
            if best:
                found[spec] = best[0].value
        if not found:
            raise UsageError(
                f"{self.path} has no accuracy of any network in a size of this sweep.",
                "Add such lines, or leave --accuracy out.",
            )
        return found

    def _line(self, line: _Line) -> str:
        return f"{self.path}, line {line.number},"


def read(path: Path, column: str) -> Accuracies:
    """Read a table.

    Args:
        path: a CSV file.
        column: that holds the accuracies.

    Raises:
        UsageError: it cannot be read, lacks a column, or has a line that means nothing.
    """
    try:
        text = reading.text(path, what="a table of accuracies", encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.", "Check the path of --accuracy.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read as a table of accuracies: {reason(error)}.",
            "Give a CSV file with a header, such as 'model,accuracy'.",
        ) from error
    # A cell may have line breaks in it; nobody writes such tables by hand.
    numbered = [(n, [cell.strip() for cell in row]) for n, row in enumerate(rows, 1) if any(row)]
    if not numbered:
        raise UsageError(f"{path} is empty.", "Give a CSV file with a header and a line each.")
    header = numbered[0][1]
    _demand_columns(path, header, column)
    lines = tuple(_line(path, header, column, *row) for row in numbered[1:])
    if not lines:
        raise UsageError(f"{path} has a header and nothing else.", "Add a line for each network.")
    _demand_single(path, lines)
    return Accuracies(path, column, lines)


def _demand_columns(path: Path, header: Sequence[str], column: str) -> None:
    if twice := sorted(repeated(header)):
        raise UsageError(
            f"{path} has the column '{_short(twice[0])}' twice.", "Leave one of them out."
        )
    for name, flag in ((_MODEL, ""), (column, " with --accuracy-column")):
        if name not in header:
            listed = ", ".join(_short(one) for one in header)
            raise UsageError(
                f"{path} has no column '{_short(name)}'; it has: {elide(listed, 200)}.",
                f"Add it, or name another one{flag}." if flag else "Name the networks in it.",
            )
    if column in (_MODEL, _PATCHES, _SIZE):
        raise UsageError(
            f"The column '{column}' says which network a line is of.",
            "Name the column with the accuracies with --accuracy-column.",
        )


def _line(path: Path, header: Sequence[str], column: str, number: int, cells: list[str]) -> _Line:
    where = f"{path}, line {number},"
    if len(cells) != len(header):
        raise UsageError(
            f"{where} has {len(cells)} cells, and the header {len(header)}.",
            'Put what has a comma in it between quotation marks, as in "8,4,2".',
        )
    held = dict(zip(header, cells, strict=True))
    if not held[_MODEL]:
        raise UsageError(f"{where} names no model.", "Name it, or leave the line out.")
    try:
        value = float(held[column])
    except ValueError:
        value = math.nan
    if not abs(value) <= _MOST:
        raise UsageError(
            f"{where} has '{_short(held[column])}' in the column '{_short(column)}', which is no "
            "number.",
            "Give a number without a unit, as in 78.4.",
        )
    try:
        patches, size = held.get(_PATCHES), held.get(_SIZE)
        return _Line(
            number,
            held[_MODEL],
            parse_patches(patches) if patches else None,
            parse_image_size(size) if size else None,
            value,
        )
    except UsageError as error:
        raise UsageError(f"{where} is wrong: {clean(error.message)}", error.remedy) from error


def _demand_single(path: Path, lines: Sequence[_Line]) -> None:
    first: dict[object, int] = {}
    for line in lines:
        key = (line.model, line.patches, line.size)
        if key in first:
            raise UsageError(
                f"{path}, line {line.number}, is of the same network as line {first[key]}.",
                "Leave one of them out.",
            )
        first[key] = line.number


def _short(text: str) -> str:
    return elide(clean(text), _WIDTH)
