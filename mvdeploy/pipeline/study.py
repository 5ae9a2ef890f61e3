"""A study: its networks, measured in blocks that fit into memory, each block a saved run.

In every block the study's reference is the first case, so that every ratio is one of inferences
that took turns. The folder of a study::

    study.json        the StudyRun: what was asked, and which runs are complete
    runs/<run>/       a block, as 'mvdeploy bench' saves a run
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mvdeploy
from mvdeploy import models
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files import writing
from mvdeploy.pipeline import bench, memory, prepare, ways
from mvdeploy.pipeline.bench import OnStep, Request
from mvdeploy.pipeline.report import RUNS, STUDY, load_study
from mvdeploy.records import Case, ModelSpec, codec
from mvdeploy.records.run import load_run
from mvdeploy.records.spec import parse_arguments, parse_image_size, parse_patches
from mvdeploy.records.study import Study, StudyRow, StudyRun, StudyWay

_TOGETHER = 6
"""Rows of a block at most: each round of turns has all of them."""

_BYTES_PER_PARAMETER, _BYTES_PER_CASE = 40, 200_000_000
"""What a network takes while its block is prepared and measured, here and in the runner: weights in
both precisions that it is verified in, an export, an engine's own copies; activations."""

_SHARE = 0.6
"""Of the free memory that a block may take."""


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
        conditions=_conditions(request, seed),
        ways=measured,
        cases={row: tuple(case.slug for case in found) for row, found in cases.items()},
    )
    folder, earlier = _folder(begun, request, anew)
    if earlier is not None:
        begun = dataclasses.replace(begun, created=earlier.created, runs=earlier.runs)
    return Planned(name, study, request, specs, folder, begun)


def remaining(planned: Planned) -> tuple[str, ...]:
    """Return the rows that are still to be measured, those of one network once."""
    done: set[str] = set()
    for name in planned.saved.runs:
        run = load_run(planned.folder / RUNS / name)
        gone = DeviceUnavailable.exit_code
        done |= {c.slug for c in run.cases if not (c.failure and c.failure.exit_code == gone)}
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
    room = int(memory.available() * _SHARE) if room is None else room
    sizes = {row.name: _bytes(row, len(planned.saved.ways)) for row in planned.study.measurable}
    reference = planned.study.reference
    waiting = [row for row in remaining(planned) if row != reference]
    divided: list[tuple[str, ...]] = []
    block, taken = [reference], sizes[reference]
    for row in waiting:
        if len(block) > 1 and (len(block) == _TOGETHER or taken + sizes[row] > room):
            divided.append(tuple(block))
            block, taken = [reference], sizes[reference]
        block.append(row)
        taken += sizes[row]
    if len(block) > 1 or reference in remaining(planned):
        divided.append(tuple(block))
    return divided


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
    _save(planned.saved, planned.folder)
    try:
        return _run(planned, on_step)
    finally:
        if not (planned.folder / RUNS).exists():  # nothing was begun: nothing is left behind
            with contextlib.suppress(OSError):
                (planned.folder / STUDY).unlink()
                planned.folder.rmdir()


def _run(planned: Planned, on_step: OnStep) -> StudyRun:
    saved, divided = planned.saved, blocks(planned)
    for number, block in enumerate(divided, 1):
        on_step(f"block {number} of {len(divided)}: {', '.join(block)}")
        store = bench.run(_request(planned, block), on_step)
        saved = dataclasses.replace(saved, runs=(*saved.runs, store.folder.name))
        _save(saved, planned.folder)
        lost = [c.failure for c in store.cases if c.failure]
        for failure in lost:
            if failure.exit_code == DeviceUnavailable.exit_code:
                raise DeviceUnavailable(
                    failure.message, f"{failure.remedy} The same command goes on from here."
                )
    return saved


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


def _bytes(row: StudyRow, ways: int) -> int:
    return int(row.parameters * 1e6 * _BYTES_PER_PARAMETER + _BYTES_PER_CASE) * ways


def _conditions(request: Request, seed: int) -> dict[str, str]:
    """Return what decides the numbers, in words that are the same for the same."""
    plan = request.plan
    found, _ = ways.of_networks(request.choice)
    return {
        "mvdeploy": mvdeploy.__version__,
        "device": request.device.name,
        "address": request.device.address,
        "formats": ", ".join(dict.fromkeys(way.format for way in found)),
        **({"engines": ", ".join(way.engine for way in found)} if request.engines else {}),
        "precisions": ", ".join(p or "usual" for p in request.precisions),
        **({"programs": "for any engine"} if request.portable else {}),
        "engine options": ", ".join(f"{k}={v}" for k, v in sorted(request.engine_options.items())),
        "left out": ", ".join(request.left_out),
        "photograph": str(request.photograph or ""),
        "seed of the weights": str(seed),
        "plan": codec.dumps(plan),
    }


def _folder(begun: StudyRun, request: Request, anew: bool) -> tuple[Path, StudyRun | None]:
    """Return the folder with this study under these conditions, or one that is free for it."""
    for folder in _candidates(request.root / f"study-{begun.name}-{request.device.name}"):
        if not folder.exists():
            return folder, None
        if not anew and (folder / STUDY).is_file():
            earlier = load_study(folder)
            if earlier.conditions == begun.conditions and earlier.name == begun.name:
                return folder, earlier
    raise AssertionError  # there is always a next one


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))


def _save(saved: StudyRun, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing.refused(error, folder, "Give another place with -o.") from error
    codec.save(saved, folder / STUDY)
