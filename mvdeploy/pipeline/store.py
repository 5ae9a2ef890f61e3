"""The folder of a run while it grows: whatever is known of a case is on disk at once."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

import mvdeploy
from mvdeploy import engines, formats
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.records import (
    Case,
    Comparison,
    Device,
    Failure,
    Finding,
    Measurement,
    OutputComparison,
    Plan,
    Run,
    SessionOrder,
)
from mvdeploy.records import run as saved
from mvdeploy.records.energy import Energy


class Store:
    """A run and its cases, saved at every change.

    Args:
        run: as far as it is known at the start.
        folder: of the run.
        cases: all cases, nothing known of them yet.
    """

    def __init__(self, run: Run, folder: Path, cases: Sequence[Case]) -> None:
        self.folder = folder
        self._run = run
        self._cases = {case.slug: case for case in cases}
        self._comparisons: dict[tuple[str, str], Comparison] = {}
        self._orders: tuple[SessionOrder, ...] = ()
        saved.save_run(run, folder)

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases as they are known now."""
        return tuple(self._cases.values())

    def case(self, slug: str) -> Case:
        """Return a case as it is known now."""
        return self._cases[slug]

    def update(self, slug: str, **known: object) -> None:
        """Add to what is known of a case, and save it."""
        case = dataclasses.replace(self._cases[slug], **known)  # type: ignore[arg-type]
        saved.save_case(case, self.folder, known)
        self._cases[slug] = case

    def measured(self, slug: str, measurement: Measurement) -> None:
        """Keep what was measured of a case so far."""
        self.update(slug, measurement=measurement)

    def failed(self, slug: str, error: MvdeployError) -> None:
        """Keep the reason why a case has no result, or no more of it."""
        self.update(slug, failure=Failure(error.message, error.remedy, error.exit_code))

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The paired samples as they are known now."""
        return tuple(self._comparisons.values())

    def compared(self, comparisons: Sequence[Comparison]) -> None:
        """Keep paired samples; those of a pair replace what was known of it."""
        if comparisons:
            self._comparisons.update({(c.a, c.b): c for c in comparisons})
            saved.save_comparisons(self.comparisons, self.folder)

    def differing(self, comparisons: tuple[OutputComparison, ...]) -> None:
        """Keep how the outputs of cases differ, instead of what was kept of that."""
        if comparisons:
            saved.save_outputs(comparisons, self.folder)

    def ordered(self, order: SessionOrder) -> None:
        """Keep the order of a session's inferences."""
        self._orders += (order,)
        saved.save_orders(self._orders, self.folder)

    def metered(self, energy: Energy) -> None:
        """Keep what a meter has told so far."""
        saved.save_energy(energy, self.folder)

    def found(self, finding: Finding) -> None:
        """Keep a finding on the run as a whole, once."""
        if finding in self._run.findings:
            return
        self._run = dataclasses.replace(self._run, findings=(*self._run.findings, finding))
        saved.save_run(self._run, self.folder)

    def found_of(self, slug: str, finding: Finding) -> None:
        """Keep a finding on a case that has been measured."""
        measurement = self.case(slug).measurement
        if measurement is None:
            raise ValueError(f"case {slug} has not been measured")
        findings = (*measurement.findings, finding)
        self.measured(slug, dataclasses.replace(measurement, findings=findings))


def create(
    root: Path,
    title: str,
    cases: Sequence[Case],
    *,
    device: Device,
    plan: Plan,
    command: tuple[str, ...],
    image: str,
) -> Store:
    """Make the folder of a new run below `root`; no two runs share one.

    Raises:
        UsageError: the folder cannot be made.
    """
    now = datetime.datetime.now(datetime.UTC)
    folder = _new_folder(root, f"{now:%Y%m%d-%H%M%S}-{device.profile.name}-{title}")
    run = Run(
        name=folder.name,
        created=now.isoformat(timespec="seconds"),
        mvdeploy=mvdeploy.__version__,
        command=command,
        device=device,
        plan=plan,
        environment=_environment(),
        input=image,
        cases=tuple(case.slug for case in cases),
    )
    return Store(run, folder, cases)


def _new_folder(root: Path, name: str) -> Path:
    for number in range(1, 100):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if not folder.is_dir():
                raise UsageError(
                    f"{root} is a file, not a folder.", "Give a folder with -o."
                ) from error
        except OSError as error:
            raise writing.refused(error, folder, "Give another place with -o.") from error
        else:
            return folder
    raise UsageError(f"{root} has too many runs of this second.", "Give another place with -o.")


def _environment() -> dict[str, str]:
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    rooms = (*map(formats.get, formats.names()), *map(engines.get, engines.names()))
    packages = dict.fromkeys(
        ("numpy", *(name for room in rooms for name in getattr(room, "PACKAGES", ())))
    )
    versions = {name: installed.get(name, "unavailable") for name in packages}
    return {"python": platform.python_version(), "system": platform.platform(), **versions}
