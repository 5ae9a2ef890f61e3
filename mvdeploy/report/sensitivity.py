"""What modules in whole numbers cost, as sentences, a table and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mvdeploy.files import writing
from mvdeploy.records import Sensitivity
from mvdeploy.text_format import clean, count

SHOWN = 10
"""Modules in sentences."""


def sentences(found: Sensitivity) -> Iterator[str]:
    """Yield what is found, line by line."""
    whole = "no noise" if found.snr_db is None else f"{found.snr_db:.1f} dB"
    yield (
        f"Sensitivity on {count(found.images, 'image')}: all in whole numbers {whole}; of the "
        "noise that each module alone adds to the outputs:"
    )
    for row in found.modules[:SHOWN]:
        alone = "no change" if row.snr_db is None else f"{row.snr_db:.1f} dB"
        yield f"  {row.share:5.1%}  {alone:>9}  {clean(row.module) or '(network)'}"
    if len(found.modules) > SHOWN:
        rest = sum(row.share for row in found.modules[SHOWN:])
        yield f"  {rest:5.1%}             {len(found.modules) - SHOWN} others"
    yield from proposal(found)


def proposal(found: Sensitivity) -> Iterator[str]:
    """Yield what to keep in float."""
    if found.reached and not found.kept:
        yield f"It reaches {found.wanted_db:g} dB as it is."
        return
    reached = "nothing is left to add noise" if found.kept_db is None else f"{found.kept_db:.1f} dB"
    flags = " ".join(f"--keep-float {clean(module)}" for module in found.kept)
    if not found.reached:
        yield f"{found.wanted_db:g} dB is not reached with any choice: {reached} at most."
        return
    number = count(len(found.kept), "module")
    yield f"{found.wanted_db:g} dB is reached with {number} in float ({reached}, computed): {flags}"


def write(found: Sensitivity, label: str, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write a table (CSV) and a figure (PNG) into a folder; return where they are.

    Raises:
        NotWritten: the folder cannot be written to.
    """
    from mvdeploy.report import figures
    from mvdeploy.report.figures import _sensitivity, _style

    table, picture = folder / f"{stem}-sensitivity.csv", folder / f"{stem}-sensitivity.png"
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("module", "share_of_noise", "snr_db_alone", "proposed_in_float"))
    for row in found.modules:
        level = "" if row.snr_db is None else f"{row.snr_db:.3f}"
        rows.writerow((row.module, f"{row.share:.6f}", level, int(row.module in found.kept)))
    writing.data(table, text.getvalue().encode())
    names = "".join(row.module for row in found.modules) + label
    with _style.look(frozenset(letter for letter in names if letter > "\x7f")):
        drawn = figures.saved(_sensitivity.draw(found, label), "png")
    writing.data(picture, drawn)
    return table, picture
