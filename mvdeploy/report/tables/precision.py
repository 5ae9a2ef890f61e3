"""What precisions cost and bring: size, time and accuracy of every case, side by side."""

from __future__ import annotations

import statistics

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.records import Artifact
from mvdeploy.report.tables.table import Column, Table, about, tagged, text
from mvdeploy.report.wording import interval_text, ratio_text
from mvdeploy.text_format import NONE, megabytes, milliseconds


def concerns(view: View) -> bool:
    """Say whether a run has anything to show: several precisions, or whole numbers."""
    artifacts = [case.case.artifact for case in view.cases]
    whole = any(artifact is not None and artifact.quantized is not None for artifact in artifacts)
    return whole or len({case.precision for case in view.cases if case.precision}) > 1


def precisions(view: View) -> Table:
    """Show size, time and accuracy of every case."""
    columns = ("file, MB", "p50, ms", "ratio", "SNR, median, dB", "SNR, worst, dB")
    random = any(_is_random(case.case.artifact) for case in view.cases)
    return Table(
        "Precisions",
        (
            *(text(title) for title in ("Case", "Precision")),
            *map(Column, columns),
            text("same answer"),
            text("scales from"),
        ),
        tuple(_row(view, case) for case in view.cases),
        note=(
            "The ratio is of times that were measured in turns, with its 95 % interval, to the "
            "first case of the same engine. The SNR is of the outputs against the network in "
            "PyTorch, on the inputs under Parity; 'same answer' counts on how many other inputs "
            "the file says what the network says."
            + (" The weights are random: what trained ones lose, they tell." if random else "")
        ),
        cases=about(view.cases),
    )


def _is_random(artifact: Artifact | None) -> bool:
    return artifact is not None and artifact.spec.is_random


def _row(view: View, case: CaseView) -> tuple[str, ...]:
    artifact, parity = case.case.artifact, case.case.parity
    levels = [one.snr_db for one in parity.inputs if one.snr_db is not None] if parity else []
    said = parity.answers if parity is not None else None
    return (
        tagged(view, case),
        case.precision or NONE,
        megabytes(artifact.size_bytes) if artifact is not None else NONE,
        milliseconds(case.timing.wall.p50) if case.timing is not None else NONE,
        _ratio(view, case),
        f"{statistics.median(levels):.1f}" if levels else NONE,
        f"{min(levels):.1f}" if levels else NONE,
        f"{said.same} of {said.inputs}" if said is not None else NONE,
        _scales(artifact),
    )


def _ratio(view: View, case: CaseView) -> str:
    found = next((c for c in view.comparisons if c.b.slug == case.slug), None)
    if found is not None and found.estimate is not None:
        return f"{ratio_text(found.estimate)} ({interval_text(found.estimate)}) to {found.a.key}"
    return "1" if any(c.a.slug == case.slug for c in view.comparisons) else NONE


def _scales(artifact: Artifact | None) -> str:
    quantized = artifact.quantized if artifact is not None else None
    if quantized is None:
        return NONE
    given = quantized.calibration
    return "every inference" if given is None else f"{given.images} images, {given.method}"
