"""`WebPage` and `WebResult`: a page that measures by itself, and the file that it saves.

The page reads ``job.json``, which is a `WebPage`, and does its jobs one after the other, each in a
fresh worker. What it saves holds that text as it was, and what the runner told: with nothing else
beside it, a result is read and judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mvdeploy.records import codec
from mvdeploy.records.artifact import Artifact
from mvdeploy.records.job import Job
from mvdeploy.records.limits import Count, FolderName, Number, Pixels, Threads
from mvdeploy.records.parity import Parity
from mvdeploy.records.plan import Plan

DEVICE = "web-page"
"""Name of the profile of what a page was opened on."""


@dataclasses.dataclass(frozen=True)
class WebCase:
    """A network that a page measures.

    Attributes:
        slug: unique in the page.
        label: its name.
        engine: that runs it.
        title: of the engine.
        artifact: the manifest.
        parity: the check after the export; None when there was none.
        reference: what PyTorch makes of the input that is measured, as base64 of NumPy archives:
            ``known`` (a `KnownReference`), ``plain_sums`` and ``summed`` (see `Reference`); empty
            where that is not known, or too large.
        emulated: why it is not computed in the precision's own numbers; empty when it is.
        image_size: height and width in pixels, where networks of the page differ in it.
        batch: images in one inference, where they are several.
    """

    slug: FolderName
    label: str
    engine: str
    title: str
    artifact: Artifact
    parity: Parity | None
    reference: dict[str, str] = dataclasses.field(default_factory=dict)
    emulated: str = ""
    image_size: tuple[Pixels, Pixels] | None = None
    batch: Number | None = None


@dataclasses.dataclass(frozen=True)
class WebEngine:
    """An engine of a page.

    Attributes:
        script: of the runner, for this engine.
        provider: what it computes with.
        version: of its package.
        sha256: of all its files.
        options: what its sessions are opened with.
    """

    script: str
    provider: str
    version: str
    sha256: str
    options: dict[str, str | int]


@dataclasses.dataclass(frozen=True)
class WebSession:
    """A session that cases share.

    Attributes:
        job: what is done.
        steady: number of leading entries of its order that are blocks; the rest are turns.
    """

    job: Job
    steady: Count


@dataclasses.dataclass(frozen=True)
class WebPage:
    """What a page does. Paths are those of files beside ``job.json``.

    Attributes:
        created: ISO 8601, UTC.
        mvdeploy: version.
        photograph: what it shows; empty for networks that take none.
        input: what the networks are fed, by name.
        plan: how it measures.
        engines: by name.
        cases: in order.
        probes: the job of each case alone.
        sessions: the jobs that come after these.
    """

    created: str
    mvdeploy: str
    photograph: str
    input: str
    plan: Plan
    engines: dict[str, WebEngine]
    cases: tuple[WebCase, ...]
    probes: tuple[Job, ...]
    sessions: tuple[WebSession, ...]

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.cases or len(self.probes) != len(self.cases):
            yield f"has {len(self.cases)} cases and {len(self.probes)} jobs for them"
        yield from (
            f"has the case {slug!r} twice"
            for slug in sorted(codec.repeated([case.slug for case in self.cases]))
        )
        known = {model.path for job in self.probes for model in job.models}
        for job in (*self.probes, *(session.job for session in self.sessions)):
            if not job.models or any(index >= len(job.models) for index in job.order):
                yield "runs a case that it does not load"
            if any(model.path not in known for model in job.models):
                yield "loads a file that is of none of its cases"


@dataclasses.dataclass(frozen=True)
class WebJob:
    """What came of one job.

    Attributes:
        started_at: ISO 8601, UTC.
        events: what the runner told, a line each.
        outputs: output tensors, as base64 of NumPy files, by the path that events name; empty where
            they are too large.
    """

    started_at: str
    events: tuple[str, ...]
    outputs: dict[str, str]


@dataclasses.dataclass(frozen=True)
class WebResult:
    """What a page saves.

    There are no numbers with fractions in it: browsers write them otherwise than Python, and it has
    a checksum.

    Attributes:
        page: the text of ``job.json``.
        browser: what the browser says of itself.
        threads: of inference.
        hidden: how often the page was hidden while it measured.
        saved_at: ISO 8601, UTC.
        jobs: of the probes, then of the sessions; those after one that failed are not there.
    """

    page: str
    browser: dict[str, str]
    threads: Threads
    hidden: Count
    saved_at: str
    jobs: tuple[WebJob, ...]
