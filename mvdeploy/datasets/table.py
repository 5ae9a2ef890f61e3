"""A table of images and labels: CSV with the columns ``path`` and ``label``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mvdeploy.datasets import Data, Gathered, Request, listed
from mvdeploy.errors import UsageError
from mvdeploy.files import reading

TASKS = ("classify",)
USAGE = "a CSV file with the columns path,label (paths start from its folder)"

_COLUMNS = ("path", "label")
_TABLE = 500 * reading.MB


def fits(place: Path) -> bool:
    """Say whether it is a CSV file by its name."""
    return place.suffix.lower() == ".csv" and not place.is_dir()


def read(request: Request) -> Data:
    """Read the rows; other columns are left aside.

    Raises:
        UsageError: a column is missing, or it is no CSV.
    """
    file = request.place
    text = reading.text(file, limit=_TABLE, what="a table of labels", encoding="utf-8-sig")
    rows = csv.reader(io.StringIO(text, newline=""))
    found = Gathered(request)
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        lacking = [column for column in _COLUMNS if column not in header]
        if lacking:
            raise UsageError(
                f"{file} has no column '{lacking[0]}' (it has {', '.join(header) or 'none'}).",
                "Give it a first line with path,label.",
            )
        path, label = map(header.index, _COLUMNS)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= max(path, label):
                found.problem("truth", f"{file.name}:{rows.line_num}", "it has too few columns")
                continue
            listed.label_is(
                found, request, row[path].strip(), row[label].strip(), set(), file.parent
            )
    except csv.Error as error:
        raise UsageError(
            f"{file} cannot be read as CSV (line {rows.line_num}: {error}).", "Correct the line."
        ) from error
    return found.data("table", file.parent)
