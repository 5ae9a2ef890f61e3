"""Many networks in blocks that fit into memory, each block a saved run, in a folder of their own.

A network is the reference: it is the first in every block, so that all that is measured can be held
against it. Blocks that are complete are kept, and what asks for the same again goes on behind them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import mvdeploy
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.pipeline import bench, calibration, memory, ways
from mvdeploy.pipeline.bench import OnStep, Request
from mvdeploy.pipeline.report import RUNS, part_of_many
from mvdeploy.records import codec
from mvdeploy.records.run import load_run
from mvdeploy.records.study import StudyRun
from mvdeploy.records.sweep import SweepRun

R = TypeVar("R", StudyRun, SweepRun)
"""What is known of many networks, and is kept."""

TOGETHER = 6
"""Networks of a block at most: each round of turns has all of them."""

_BYTES_PER_PARAMETER, _BYTES_PER_CASE = 40, 200_000_000
"""What a network takes while its block is prepared and measured, here and in the runner: weights in
both precisions that it is verified in, an export, an engine's own copies; activations."""

_SHARE = 0.6
"""Of the free memory that a block may take."""


def size(parameters: float, ways: int) -> int:
    """Return the bytes that a network takes, in so many ways.

    Args:
        parameters: millions, about.
        ways: in which it is measured.
    """
    return int(parameters * 1e6 * _BYTES_PER_PARAMETER + _BYTES_PER_CASE) * ways


def divide(
    waiting: Sequence[str],
    reference: str,
    sizes: Mapping[str, int],
    room: int | None = None,
    together: int = TOGETHER,
) -> list[tuple[str, ...]]:
    """Divide what is still to be measured; the reference comes first in each block.

    Args:
        waiting: names, in order; the reference is among them while it has not been measured.
        reference: name of what is in every block.
        sizes: bytes, by name.
        room: bytes that a block may take; None for a share of what is free.
        together: names of a block at most.
    """
    room = int(memory.available() * _SHARE) if room is None else room
    divided: list[tuple[str, ...]] = []
    block, taken = [reference], sizes[reference]
    for name in (name for name in waiting if name != reference):
        if len(block) > 1 and (len(block) == together or taken + sizes[name] > room):
            divided.append(tuple(block))
            block, taken = [reference], sizes[reference]
        block.append(name)
        taken += sizes[name]
    if len(block) > 1 or reference in waiting:
        divided.append(tuple(block))
    return divided


def measured(folder: Path, runs: Sequence[str]) -> set[str]:
    """Return the slugs of the cases that are done: not those whose device was gone.

    Args:
        folder: of all blocks.
        runs: names of those that are complete.

    Raises:
        UsageError: one of them cannot be read any more.
    """
    done: set[str] = set()
    for name in runs:
        with part_of_many():
            run = load_run(folder / RUNS / name)
        gone = DeviceUnavailable.exit_code
        done |= {c.slug for c in run.cases if not (c.failure and c.failure.exit_code == gone)}
    return done


def run(
    saved: R,
    file: Path,
    blocks: Sequence[tuple[str, ...]],
    request: Callable[[Sequence[str]], Request],
    on_step: OnStep,
) -> R:
    """Measure blocks; each that is complete is saved, and what is known of all of them with it.

    Args:
        saved: what is known before.
        file: that it is kept in.
        blocks: names of what is measured together.
        request: what is measured of such names.
        on_step: is told what begins.

    Raises:
        UsageError: see `bench.run`.
        NotWritten: the disk is full; what was measured before is saved.
        DeviceUnavailable: the device does not answer any more; what was measured before is saved.
    """
    _save(saved, file)
    try:
        for number, block in enumerate(blocks, 1):
            on_step(f"block {number} of {len(blocks)}: {', '.join(block)}")
            store = bench.run(request(block), on_step)
            saved = dataclasses.replace(saved, runs=(*saved.runs, store.folder.name))
            _save(saved, file)
            for failure in (case.failure for case in store.cases if case.failure):
                if failure.exit_code == DeviceUnavailable.exit_code:
                    raise DeviceUnavailable(
                        failure.message, f"{failure.remedy} The same command goes on from here."
                    )
    finally:
        _remove_unless_begun(file)
    return saved


def conditions(request: Request, seed: int) -> dict[str, str]:
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
        **({"calibration": str(request.wish)} if request.wish != calibration.DEFAULT else {}),
        **({"kept in float": ", ".join(request.keep_float)} if request.keep_float else {}),
        "plan": codec.dumps(plan),
    }


def place(
    begun: R, folder: Path, file: str, goes_on: Callable[[R], bool], *, anew: bool
) -> tuple[Path, R]:
    """Return the folder to go on in with what is known of it, or one that is free.

    Args:
        begun: what is asked for.
        folder: the first that is looked at; others have a number behind.
        file: that says what a folder is of.
        goes_on: says whether `begun` is more of what a folder with the same conditions is of.
        anew: go on in none.

    Raises:
        UsageError: what a folder says cannot be read.
    """
    for candidate in _candidates(folder):
        if not candidate.exists():
            return candidate, begun
        if anew or not (candidate / file).is_file():
            continue
        with part_of_many():
            found = codec.load(type(begun), candidate / file)
        if found.conditions == begun.conditions and goes_on(found):
            return candidate, dataclasses.replace(begun, created=found.created, runs=found.runs)
    raise AssertionError  # there is always a next one


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))


def _save(record: R, path: Path) -> None:
    """Write what is known, in a folder that is made for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing.refused(error, path.parent, "Give another place with -o.") from error
    codec.save(record, path)


def _remove_unless_begun(path: Path) -> None:
    """Remove what `_save` wrote, where no block was begun: nothing is left behind."""
    if not (path.parent / RUNS).exists():
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
