"""The file that a page saved → a saved run, as of any other device."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mvdeploy import engines, files
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.pipeline.prepare import demanded
from mvdeploy.pipeline.store import Store
from mvdeploy.records import (
    Case,
    Device,
    DeviceProfile,
    DeviceState,
    Finding,
    Job,
    JobResult,
    Level,
    Parity,
    Reading,
    Run,
    codec,
)
from mvdeploy.records.job import parse_events
from mvdeploy.records.run import load_run
from mvdeploy.records.web import DEVICE, WebCase, WebJob, WebPage, WebResult
from mvdeploy.text_format import clean, elide
from mvdeploy.timing import ahead
from mvdeploy.timing.case import Entry

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mvdeploy.verify.reference import Outputs, Reference

COPY = "result.json"
"""In the folder of the run: the file as it was saved."""

_NOTABLE = 0.01
"""Steps of the clock, as a share of an inference, from which on they are told of."""

_WHOLE = "Give a file as a page of 'mvdeploy export --web' saved it."
_AGAIN = "Open the page again, measure, and save its result anew."


def saved(path: Path) -> Path:
    """Return the folder of the run that a result is, beside it; it is made when it is not there.

    Raises:
        UsageError: the file is no result of a page, it is damaged or was changed, or it holds
            nothing that was measured.
        NotWritten: the folder cannot be written.
    """
    result, page = read(path)
    folder = _place(path)
    if not folder.exists():
        with writing.whole(folder) as part:
            _write(result, page, path, part, folder.name)
    return folder


def read(path: Path) -> tuple[WebResult, WebPage]:
    """Read a result, and what its page was to do.

    Raises:
        UsageError: see `saved`.
    """
    try:
        result = codec.load(WebResult, path)
        page = codec.loads(WebPage, result.page, f"{path}: page")
    except codec.RecordError as error:
        raise codec.RecordError(error.message, _WHOLE) from error
    # Other records are read without one, as people write them, too.
    if "checksum" not in json.loads(path.read_text(encoding="utf-8")):
        raise codec.RecordError(f"{path} has no checksum, as what a page saves has.", _WHOLE)
    planned = len(page.probes) + len(page.sessions)
    if len(result.jobs) > planned:
        raise codec.RecordError(
            f"{path} has {len(result.jobs)} jobs, and its page {planned}.", _AGAIN
        )
    if codec.repeated([job.events for job in result.jobs]):
        raise codec.RecordError(f"{path} has the times of one job twice.", _AGAIN)
    return result, page


def _place(path: Path) -> Path:
    """Return where the run goes: the folder that has it, or the first that is not taken."""
    place = path.absolute()
    own = files.sha256(path)
    for number in itertools.count(1):
        name = place.stem if number == 1 else f"{place.stem}-{number}"
        folder = place.with_name(name)
        copy = folder / COPY
        if not folder.exists() or (copy.is_file() and files.sha256(copy) == own):
            return folder
    raise AssertionError


def _write(result: WebResult, page: WebPage, path: Path, part: Path, name: str) -> None:
    """Write the run of a result.

    Args:
        result: what was saved.
        page: what it was to do.
        path: of the file.
        part: folder of the run, for now.
        name: of the run.
    """
    device = Device(_profile(result, page), _identity(result))
    run = Run(
        name=name,
        created=result.jobs[0].started_at if result.jobs else result.saved_at,
        mvdeploy=page.mvdeploy,
        command=("mvdeploy", "report", path.name),
        device=device,
        plan=dataclasses.replace(page.plan, threads=result.threads),
        environment={"exported with": f"mvdeploy {page.mvdeploy}"},
        input=page.input,
        cases=tuple(case.slug for case in page.cases),
    )
    part.mkdir()
    writing.fill(part / COPY, path.read_bytes())
    store = Store(run, part, [_case(case, device) for case in page.cases])
    for case in page.cases:
        store.update(case.slug, artifact=case.artifact, parity=case.parity)
        if case.emulated:
            store.found(Finding("emulated_precision", Level.WARNING, _emulation(case)))
    if result.hidden:
        store.found(Finding("hidden_page", Level.WARNING))
    _Reading(result, page, path, store).keep()
    try:
        load_run(part)
    except UsageError as error:
        why = error.message.replace(str(part), name)
        raise codec.RecordError(f"{path} is not as it was measured: {why}", _AGAIN) from error


def _finding(code: str, level: Level = Level.WARNING, **values: str | float) -> Finding:
    return Finding(code, level, dict(values))


def _emulation(case: WebCase) -> dict[str, str | int | float]:
    precision = case.artifact.precision
    return {
        "case": case.label,
        "engine": case.engine,
        "precision": precision,
        "reason": case.emulated,
    }


def _case(case: WebCase, device: Device) -> Case:
    return Case(
        case.slug,
        case.label,
        case.engine,
        format=case.artifact.format,
        precision=case.artifact.precision,
        device=device,
        emulated=case.emulated,
        image_size=case.image_size,
        batch=case.batch,
    )


def _profile(result: WebResult, page: WebPage) -> DeviceProfile:
    return DeviceProfile(
        name=DEVICE,
        title=_title(result.browser),
        link="browser",
        engines=tuple(page.engines),
        threads=result.threads,
        notes="Measured by a page that was opened there; what it is, is what its browser says.",
    )


_BROWSERS = (
    ("Edge", r"Edg(?:A|iOS)?/([\d.]+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/([\d.]+)"),
    ("Samsung Internet", r"SamsungBrowser/([\d.]+)"),
    ("Chrome", r"(?:HeadlessChrome|Chrome|CriOS)/([\d.]+)"),
    ("Safari", r"Version/([\d.]+).*Safari"),
)
_SYSTEMS = (
    *(("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows")),
    *(("macOS", "Mac OS X"), ("ChromeOS", "CrOS"), ("Linux", "Linux")),
)


def _browser(said: Mapping[str, str]) -> str:
    """Return name and version of a browser, by what it says of itself."""
    agent = said.get("user_agent", "")
    found = ((name, re.search(pattern, agent)) for name, pattern in _BROWSERS)
    by_agent = next((f"{name} {match[1]}" for name, match in found if match), "")
    return elide(clean(said.get("browser") or by_agent or "an unknown browser"), 60)


def _title(said: Mapping[str, str]) -> str:
    agent = said.get("user_agent", "")
    system = next((name for name, word in _SYSTEMS if word in agent), said.get("platform", ""))
    where = elide(clean(said.get("model") or system or "an unknown device"), 40)
    return f"{_browser(said)} on {where}"


def _identity(result: WebResult) -> dict[str, Reading]:
    told = {name: elide(clean(text), 300) for name, text in sorted(result.browser.items())}
    system = told.pop("platform", "")
    own = {"browser": _browser(result.browser), **({"os": system} if system else {})}
    return {**told, **own}


class _Reading:
    """What the jobs of a result brought, kept in a run."""

    def __init__(self, result: WebResult, page: WebPage, path: Path, store: Store) -> None:
        self._result, self._page, self._path, self._store = result, page, path, store

    def keep(self) -> None:
        """Keep measurements, comparisons and findings.

        Raises:
            UsageError: nothing was measured.
        """
        page, result = self._page, self._result
        probed: dict[str, JobResult] = {}
        for case, job, came in zip(page.cases, page.probes, result.jobs, strict=False):
            try:
                probed[case.slug] = self._result_of(job, came)
                self._judge(case, probed[case.slug], came)
            except EngineError as error:
                probed.pop(case.slug, None)
                self._store.failed(case.slug, error)
        cases = [case for case in page.cases if case.slug in probed]
        seen, stopped = self._sessions(result.jobs[len(page.probes) :])
        if not seen or not cases:
            self._refuse(stopped)
        threads = result.threads
        states = self._state(result.jobs[0].started_at), self._state(result.saved_at)
        plan = dataclasses.replace(page.plan, threads=threads)
        probes = {case.slug: job for case, job in zip(page.cases, page.probes, strict=True)}
        entries = [_entry(case, probes[case.slug]) for case in cases]
        gathered = ahead.gather(entries, [probed[c.slug] for c in cases], seen, plan, states)
        self._keep(gathered, cases)
        if stopped is not None:
            for case in cases:
                if self._store.case(case.slug).failure is None:
                    self._store.failed(case.slug, stopped)

    def _refuse(self, stopped: EngineError | None) -> NoReturn:
        failures = [case.failure for case in self._store.cases if case.failure is not None]
        why = failures[0].message if failures else stopped.message if stopped else ""
        words = f": {why}" if why else ", as the page was not done."
        remedy = failures[0].remedy if failures else _AGAIN
        raise UsageError(f"{self._path} holds no measurement{words}", remedy)

    def _result_of(self, job: Job, came: WebJob) -> JobResult:
        """Put the events of a job together.

        Raises:
            EngineError: it failed, or was not done.
        """
        return parse_events(came.events, dataclasses.replace(job, threads=self._result.threads))

    def _sessions(self, jobs: Sequence[WebJob]) -> tuple[list[ahead.Seen], EngineError | None]:
        """Return the sessions that were done, and what ended the rest early."""
        seen: list[ahead.Seen] = []
        for session, came in zip(self._page.sessions, jobs, strict=False):
            try:
                result = self._result_of(session.job, came)
            except EngineError as error:
                return seen, error
            seen.append(ahead.Seen(came.started_at, session.job, session.steady, result))
        if len(seen) == len(self._page.sessions):
            return seen, None
        ended = "The result was saved before the page had done all sessions."
        return seen, EngineError(ended, _AGAIN)

    def _state(self, at: str) -> DeviceState:
        return DeviceState(at, {})

    def _keep(self, gathered: ahead.Gathered, cases: Sequence[WebCase]) -> None:
        for slug, measurement in gathered.measurements.items():
            share = gathered.shares[slug]
            coarse = _finding("coarse_clock", step_us=gathered.step_ns / 1e3, percent=100 * share)
            found = (*measurement.findings, *([coarse] if share > _NOTABLE else []))
            self._store.measured(slug, dataclasses.replace(measurement, findings=found))
        for slug, error in gathered.failures.items():
            self._store.failed(slug, error)
        self._store.compared(gathered.comparisons)
        for order in gathered.orders:
            self._store.ordered(order)
        if self._result.browser.get("isolated") != "yes":
            self._store.found(_finding("page_not_isolated", step_us=gathered.step_ns / 1e3))
        if len(cases) > 1 and not gathered.comparisons:
            self._store.found(
                _finding(
                    "clock_too_coarse",
                    step_us=gathered.step_ns / 1e3,
                    percent=100 * max(gathered.shares.values()),
                    limit=100 / ahead.STEPS,
                )
            )

    def _judge(self, case: WebCase, result: JobResult, came: WebJob) -> None:
        """Judge what the device computed, by what the page knows of the network.

        Raises:
            EngineError: it is damaged, or cannot be the outputs of this case.
        """
        try:
            parity = self._judged(case, result, came)
        except _NotJudgedError as error:
            values = {"case": case.label, "reason": str(error)}
            self._store.found(_finding("device_not_judged", Level.NOTE, **values))
        else:
            self._store.update(case.slug, device_parity=parity)

    def _judged(self, case: WebCase, result: JobResult, came: WebJob) -> Parity:
        if not case.reference:
            raise _NotJudgedError("The page does not hold what PyTorch computes.")
        told = result.models[0].output_files
        if not told or any(place not in came.outputs for place in told.values()):
            raise _NotJudgedError("The outputs were too large to be saved.")
        outputs = {name: _array(case, name, came.outputs[place]) for name, place in told.items()}
        with _needed_to_judge():
            from mvdeploy.verify.parity import compare_outputs

            reference = _reference(case)
        version = self._page.engines[case.engine].version
        try:
            return compare_outputs(
                case.artifact,
                reference,
                outputs,
                engine=f"{case.engine} {version}",
                running_sums=engines.has_running_sums(case.engine, case.artifact.precision, ""),
            )
        except CheckFailed as error:
            raise EngineError(error.message, error.remedy) from error


class _NotJudgedError(Exception):
    """What it takes to judge is not there."""


@contextmanager
def _needed_to_judge() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise _NotJudgedError(f"{error.name} is not installed.") from error
    except (ValueError, OSError, KeyError, binascii.Error) as error:
        raise _NotJudgedError("What the page holds of the network is damaged.") from error
    except MvdeployError as error:
        raise _NotJudgedError(error.message) from error


def _reference(case: WebCase) -> Reference:
    """Return what the outputs of a case are held against, by what its page holds."""
    from mvdeploy.verify.known_reference import KnownReference

    with writing.temporary() as work:
        writing.fill(work / "known.npz", base64.b64decode(case.reference["known"]))
        known = KnownReference.load(work / "known.npz")
    found = known.reference(case.artifact, _no_network, {}, "input")
    summed = found.summed and functools.partial(_sums, case, "summed")
    plain = functools.partial(_sums, case, "plain_sums")
    return dataclasses.replace(found, plain_sums=plain, summed=summed)


def _sums(case: WebCase, name: str) -> Mapping[str, Outputs]:
    import numpy as np

    if name not in case.reference:
        raise _NotJudgedError("It takes the network, which a result does not hold.")
    with np.load(io.BytesIO(base64.b64decode(case.reference[name])), allow_pickle=False) as arrays:
        return {"input": {output: arrays[output] for output in arrays.files}}


def _no_network() -> NoReturn:
    raise _NotJudgedError("It takes the network, which a result does not hold.")


def _array(case: WebCase, name: str, text: str) -> npt.NDArray[np.generic]:
    import numpy as np

    try:
        content = io.BytesIO(base64.b64decode(text, validate=True))
        array: npt.NDArray[np.generic] = np.load(content, allow_pickle=False)
    except (OSError, ValueError, EOFError, binascii.Error) as error:
        raise EngineError(
            f"The output '{name}' of {case.label} is damaged in the result ({error}).", _AGAIN
        ) from error
    return array


def _entry(case: WebCase, job: Job) -> Entry:
    known = bool(case.artifact.spec.model)
    return Entry(case.slug, job.models[0], demanded(case.artifact), finite=known)
