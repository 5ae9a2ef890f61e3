"""`Run` and `Case`: one call of ``mvdeploy bench``, as it is saved.

A run is a folder::

    run.json                     the Run
    cases/<slug>/case.json       the Case: measurement or error
    cases/<slug>/artifact.json   the Artifact
    cases/<slug>/parity.json     the Parity of the export
    cases/<slug>/device_parity.json  the Parity of what the device computed
    cases/<slug>/trace.json      the Trace
    cases/<slug>/stages.json     the Stages
    cases/<slug>/first_run.json  the FirstRun
    cases/<slug>/sustained.json  the Sustained
    comparisons.json             the Comparisons
    outputs.json                 the OutputComparisons
    sessions.json                the SessionOrders
    energy.json                  the Energy, where it was asked for
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

from mvdeploy.errors import UsageError
from mvdeploy.records import agreement, codec
from mvdeploy.records.artifact import Artifact
from mvdeploy.records.comparison import Comparison, OutputComparison
from mvdeploy.records.device import Device
from mvdeploy.records.energy import Energy
from mvdeploy.records.first_run import FirstRun
from mvdeploy.records.job import Samples
from mvdeploy.records.limits import FolderName, Number, Pixels, Range, Threads
from mvdeploy.records.measurement import Finding, Measurement, SessionOrder
from mvdeploy.records.parity import Parity
from mvdeploy.records.plan import Plan
from mvdeploy.records.stages import Stages
from mvdeploy.records.sustained import Sustained
from mvdeploy.records.trace import Trace

_REMEDY = "A file was damaged, changed or exchanged: measure again, or take a copy that is whole."


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a case has no result: what happened, what to do, and the exit code it asks for."""

    message: str
    remedy: str
    exit_code: Annotated[int, Range(0, 255)]


@dataclasses.dataclass(frozen=True)
class Case:
    """One model in one format on one engine.

    Attributes:
        slug: unique in the run; its folder.
        label: its name in tables.
        engine: engine that runs it.
        format: that it is measured in.
        precision: that it computes in.
        device: where it ran; None in results that hold one device for all cases.
        artifact: what was run; None when the export failed.
        parity: the check after the export; None when there was none.
        device_parity: the check of what the device computed, on the input that is measured; None
            when it was not made.
        measurement: None while it is not measured, or when it failed.
        trace: None without a profile.
        stages: the whole pipeline around the inference; None when it was not asked for.
        first_run: starts of processes; None when they were not asked for.
        failure: why there is no measurement.
        emulated: why it is not computed in the precision's own numbers; empty when it is.
        threads: of inference; None for those of the run's plan.
        sustained: what was seen of it under load that does not end; None when it had none.
        image_size: height and width in pixels, where the networks of a run differ in it.
        batch: images in one inference, where they are several or a run's networks differ in it.
    """

    slug: str
    label: str
    engine: str
    artifact: Artifact | None = None
    parity: Parity | None = None
    device_parity: Parity | None = None
    measurement: Measurement | None = None
    trace: Trace | None = None
    failure: Failure | None = None
    format: str = ""
    precision: str = ""
    device: Device | None = None
    emulated: str = ""
    threads: Threads | None = None
    stages: Stages | None = None
    first_run: FirstRun | None = None
    sustained: Sustained | None = None
    image_size: tuple[Pixels, Pixels] | None = None
    batch: Number | None = None

    @property
    def size(self) -> str:
        """The image's size and how many there are, where the label needs it: ``64 px batch 4``."""
        height, width = self.image_size or (0, 0)
        side = f"{height}" if height == width else f"{height}x{width}"
        pixels = f"{side} px" if self.image_size else ""
        return " ".join(filter(None, (pixels, f"batch {self.batch}" if self.batch else "")))

    @property
    def sized(self) -> str:
        """The label, with the size where cases of the run differ in it."""
        return " ".join(filter(None, (self.label, self.size)))


@dataclasses.dataclass(frozen=True)
class Run:
    """The whole of one call: conditions that all cases share.

    Attributes:
        name: of the folder.
        created: ISO 8601, UTC.
        mvdeploy: version.
        command: the command line.
        device: where it ran.
        plan: how it was measured.
        environment: the machine that drove it.
        input: what the models were fed.
        cases: slugs, in order.
        findings: what to know about the run as a whole.
    """

    name: str
    created: str
    mvdeploy: str
    command: tuple[str, ...]
    device: Device
    plan: Plan
    environment: dict[str, str]
    input: str
    cases: tuple[FolderName, ...]
    findings: tuple[Finding, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        yield from (f"has the case {slug!r} twice" for slug in sorted(codec.repeated(self.cases)))


@dataclasses.dataclass(frozen=True)
class _CaseFile:
    """What ``case.json`` holds: a case without its large parts, which have files of their own."""

    slug: FolderName
    label: str
    engine: str
    measurement: Measurement | None
    failure: Failure | None
    format: str = ""
    precision: str = ""
    device: Device | None = None
    emulated: str = ""
    threads: Threads | None = None
    image_size: tuple[Pixels, Pixels] | None = None
    batch: Number | None = None


@dataclasses.dataclass(frozen=True)
class _ComparisonsFile:
    comparisons: tuple[Comparison, ...]


@dataclasses.dataclass(frozen=True)
class _OutputsFile:
    outputs: tuple[OutputComparison, ...]


@dataclasses.dataclass(frozen=True)
class _OrdersFile:
    orders: tuple[SessionOrder, ...]


_PARTS: dict[str, type] = {
    "artifact": Artifact,
    "parity": Parity,
    "device_parity": Parity,
    "trace": Trace,
    "stages": Stages,
    "first_run": FirstRun,
    "sustained": Sustained,
}


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run and all its cases in memory.

    Attributes:
        run: what they share.
        cases: those that were saved.
        comparisons: paired samples.
        orders: of the inferences of each session; empty in results of earlier versions.
        outputs: how the outputs of files that are compared differ.
        energy: what a meter told; None where that was not asked for.
    """

    run: Run
    cases: tuple[Case, ...]
    comparisons: tuple[Comparison, ...] = ()
    orders: tuple[SessionOrder, ...] = ()
    outputs: tuple[OutputComparison, ...] = ()
    energy: Energy | None = None

    def device_of(self, case: Case) -> Device:
        """Return where a case ran."""
        return case.device or self.run.device

    def turns_of(self, slug: str) -> tuple[Samples, ...]:
        """Return the turns of a case, by group, of the first comparison it is in.

        The reference of several comparisons took its turns once for all of them.
        """
        for comparison in self.comparisons:
            if slug in (comparison.a, comparison.b) and comparison.groups:
                return tuple(g.a if slug == comparison.a else g.b for g in comparison.groups)
        return ()


def save_run(run: Run, folder: Path) -> None:
    """Write ``run.json``."""
    codec.save(run, folder / "run.json")


def save_case(case: Case, folder: Path, changed: Collection[str] | None = None) -> None:
    """Write what is known of a case so far; what was saved before is replaced file by file.

    Args:
        case: the case.
        folder: of the run.
        changed: fields that are new; None for all. Parts with files of their own are written only
            when they are new.
    """
    home = folder / "cases" / case.slug
    for part in _PARTS if changed is None else _PARTS.keys() & changed:
        record = getattr(case, part)
        if record is not None:
            codec.save(record, home / f"{part}.json", indent=None)
    body = _CaseFile(**{f.name: getattr(case, f.name) for f in dataclasses.fields(_CaseFile)})
    codec.save(body, home / "case.json", indent=None)


def save_comparisons(comparisons: tuple[Comparison, ...], folder: Path) -> None:
    """Write the paired samples of a run."""
    codec.save(_ComparisonsFile(comparisons), folder / "comparisons.json", indent=None)


def save_outputs(outputs: tuple[OutputComparison, ...], folder: Path) -> None:
    """Write how the outputs of cases of a run differ."""
    codec.save(_OutputsFile(outputs), folder / "outputs.json", indent=None)


def save_orders(orders: tuple[SessionOrder, ...], folder: Path) -> None:
    """Write the order of a run's inferences."""
    codec.save(_OrdersFile(orders), folder / "sessions.json", indent=None)


def save_energy(energy: Energy, folder: Path) -> None:
    """Write what a meter told while the cases of a run ran."""
    codec.save(energy, folder / "energy.json", indent=None)


def load_run(folder: Path) -> SavedRun:
    """Read a run with every case that was saved.

    Raises:
        UsageError: the folder holds no run, or a file in it cannot be read.

    Example:
        >>> import mvdeploy
        >>> from pathlib import Path
        >>> saved = mvdeploy.load_run(Path("run"))
        >>> len(saved.cases[0].measurement.sessions)
        4
    """
    if not (folder / "run.json").is_file():
        raise UsageError(
            f"{folder} is not the folder of a run (it has no run.json).",
            "Give a folder that 'mvdeploy bench' wrote, such as reports/<run>.",
        )
    run = codec.load(Run, folder / "run.json")
    saved = [s for s in run.cases if _there(folder / "cases" / s / "case.json")]
    comparisons: tuple[Comparison, ...] = ()
    if _there(folder / "comparisons.json"):
        comparisons = codec.load(_ComparisonsFile, folder / "comparisons.json").comparisons
    orders: tuple[SessionOrder, ...] = ()
    if _there(folder / "sessions.json"):
        orders = codec.load(_OrdersFile, folder / "sessions.json").orders
    outputs: tuple[OutputComparison, ...] = ()
    if _there(folder / "outputs.json"):
        outputs = codec.load(_OutputsFile, folder / "outputs.json").outputs
    energy: Energy | None = None
    if _there(folder / "energy.json"):
        energy = codec.load(Energy, folder / "energy.json")
    cases = tuple(_load_case(folder / "cases" / s) for s in saved)
    loaded = SavedRun(run, cases, comparisons, orders, outputs, energy)
    for problem in itertools.chain(_strangers(folder, run), agreement.problems(loaded)):
        raise codec.RecordError(f"{folder} is no whole run: {problem}.", _REMEDY)
    return loaded


def _there(file: Path) -> bool:
    """Say whether a file is there, sound or not: one that was not yet saved is not."""
    return os.path.lexists(file)


def _strangers(folder: Path, run: Run) -> Iterator[str]:
    found = sorted(home.parent.name for home in (folder / "cases").glob("*/case.json"))
    for slug in set(found).difference(run.cases):
        yield f"it holds results of {slug!r}, which is not among its cases"


def _load_case(home: Path) -> Case:
    body = codec.load(_CaseFile, home / "case.json")
    parts: dict[str, Any] = {
        part: codec.load(kind, home / f"{part}.json")
        for part, kind in _PARTS.items()
        if _there(home / f"{part}.json")
    }
    if body.slug != home.name:
        raise codec.RecordError(
            f"{home / 'case.json'} is of another case ({body.slug!r}).", _REMEDY
        )
    return Case(**{f.name: getattr(body, f.name) for f in dataclasses.fields(body)}, **parts)
