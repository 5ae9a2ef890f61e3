"""A study: its networks, measured in blocks that fit into memory, each block a saved run.

In every block the study's reference is the first case, so that every ratio is one of inferences
that took turns. The folder of a study::

    study.json        the StudyRun: what was asked, and which runs are complete
    runs/<run>/       a block, as 'mvdeploy bench' saves a run
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import bench, prepare
from mvdeploy.pipeline import blocks as many
from mvdeploy.pipeline.bench import OnStep, Request
from mvdeploy.pipeline.report import RUNS, STUDY
from mvdeploy.records import Case, ModelSpec
from mvdeploy.records.spec import parse_arguments, parse_image_size, parse_patches
from mvdeploy.records.study import Study, StudyRow, StudyRun, StudyWay

_TOGETHER = many.TOGETHER


@dataclasses.dataclass(frozen=True)
class Planned:
    """A study that can begin.

    Attributes:
        name: of the study.
        study: what it is.
        request: what its runs have in common; it has no subjects.
        specs: networks by name of the row.
        folder: of the study.
        saved: what is known of it.
    """

    name: str
    study: Study
    request: Request
    specs: Mapping[str, ModelSpec]
    folder: Path
    saved: StudyRun


def plan(name: str, study: Study, request: Request, seed: int = 0, anew: bool = False) -> Planned:
    """Check that everything can be built, and find what was measured under the same conditions.

    Args:
        name: of the study.
        study: what it is.
        request: what its runs have in common; its root is where the study's folder is, or goes.
        seed: of random weights.
        anew: measure everything again, in a folder of its own.

    Raises:
        UsageError: a network cannot be built, or a format is not written in a precision.
    """
    specs = {row.name: spec_of(row, seed) for row in study.measurable}
    cases = {row: _cases(spec, request) for row, spec in specs.items()}
    measured = tuple(StudyWay(c.format, c.precision) for c in next(iter(cases.values())))
    if len({*measured}) < len(measured):
        raise UsageError(
            "A study has one engine for each format, and one number of threads.",
            "Give --engine and --threads once, or measure with 'mvdeploy bench'.",
        )
    begun = StudyRun(
        name=name,
        study=study,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        conditions=many.conditions(request, seed),
        ways=measured,
        cases={row: tuple(case.slug for case in found) for row, found in cases.items()},
    )
    folder = request.root / f"study-{begun.name}-{request.device.name}"
    folder, begun = many.place(begun, folder, STUDY, lambda known: known.name == name, anew=anew)
    return Planned(name, study, request, specs, folder, begun)


def remaining(planned: Planned) -> tuple[str, ...]:
    """Return the rows that are still to be measured, those of one network once."""
    done = many.measured(planned.folder, planned.saved.runs)
    rows: dict[ModelSpec, str] = {}
    for row, spec in planned.specs.items():
        if not done.issuperset(planned.saved.cases[row]):
            rows.setdefault(spec, row)
    return tuple(rows.values())


def blocks(planned: Planned, room: int | None = None) -> list[tuple[str, ...]]:
    """Divide the rows that are still to be measured; the reference comes first in each block.

    Args:
        planned: the study.
        room: bytes that a block may take; None for a share of what is free.
    """
    ways = len(planned.saved.ways)
    sizes = {row.name: many.size(row.parameters, ways) for row in planned.study.measurable}
    return many.divide(remaining(planned), planned.study.reference, sizes, room, _TOGETHER)


def step_count(planned: Planned) -> int:
    """Return how many steps `run` will announce at least, for a progress bar."""
    return sum(bench.step_count(_request(planned, block)) for block in blocks(planned))


def run(planned: Planned, on_step: OnStep = lambda _: None) -> StudyRun:
    """Measure what is still to be measured; what is complete is saved block by block.

    Raises:
        UsageError: see `bench.run`.
        NotWritten: the disk is full; what was measured before is saved.
        DeviceUnavailable: the device does not answer any more; what was measured before is saved.
    """
    file, request = planned.folder / STUDY, functools.partial(_request, planned)
    return many.run(planned.saved, file, blocks(planned), request, on_step)


def _request(planned: Planned, block: Sequence[str]) -> Request:
    subjects = tuple(dict.fromkeys(planned.specs[row] for row in block))
    return dataclasses.replace(planned.request, subjects=subjects, root=planned.folder / RUNS)


def spec_of(row: StudyRow, seed: int) -> ModelSpec:
    """Return the network of a row.

    Raises:
        UsageError: it cannot be built; names the row.
    """
    try:
        return models.make_spec(
            row.model,
            patches=parse_patches(row.patches) if row.patches else None,
            image_size=parse_image_size(row.image_size) if row.image_size else None,
            task=row.task or None,
            seed=seed,
            arguments=parse_arguments(row.arguments),
        )
    except UsageError as error:
        raise type(error)(f"Row '{row.name}': {error.message}", error.remedy) from error


def _cases(spec: ModelSpec, request: Request) -> list[Case]:
    found = prepare.wanted(
        (spec,), request.choice, keep_float=request.keep_float, portable=request.portable
    )
    return [wanted.case for wanted in found]
