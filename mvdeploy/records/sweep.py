"""`SweepRun`: networks over sizes, patches, threads, precisions and engines, case by case."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated

from mvdeploy.records import codec
from mvdeploy.records.limits import Count, Filled, FolderName, Number, Pixels, Range, Threads


@dataclasses.dataclass(frozen=True)
class SweepCase:
    """A network in one size, measured in one way.

    Attributes:
        slug: of the case in its run.
        network: its label, without size and batch.
        image_size: height and width, pixels.
        batch: images in one inference.
        tokens: that attend to one another in one image, over all stages; 0 where it is not known.
        format: of the export.
        engine: that runs it.
        precision: that it computes in.
        threads: of inference.
        accuracy: as a file of the user's says, in its unit; None where it says nothing.
    """

    slug: FolderName
    network: Annotated[str, Filled()]
    image_size: tuple[Pixels, Pixels]
    batch: Number
    tokens: Count
    format: Annotated[str, Filled()]
    engine: Annotated[str, Filled()]
    precision: str
    threads: Threads
    accuracy: Annotated[float, Range(-1e100, 1e100)] | None = None

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.image_size[0] * self.image_size[1]

    @property
    def way(self) -> SweepWay:
        """How it is measured."""
        return SweepWay(self.format, self.engine, self.precision, self.threads)


@dataclasses.dataclass(frozen=True)
class SweepWay:
    """How a network is measured, whatever its size; see `SweepCase`."""

    format: str
    engine: str
    precision: str
    threads: int


@dataclasses.dataclass(frozen=True)
class Unbuilt:
    """A network that was asked for in a size which it cannot have.

    Attributes:
        name: of it, with patches and size as they were typed.
        reason: why not.
    """

    name: Annotated[str, Filled()]
    reason: str


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """What was asked of a sweep, and which runs there are.

    Attributes:
        title: the models.
        created: ISO 8601, UTC.
        conditions: what decides the numbers; other conditions have a folder of their own.
        reference: slugs of the cases that are in every block, one for each way.
        cases: all of them.
        unbuilt: what was asked for and cannot be.
        accuracy: title of the column with accuracies; empty without.
        runs: folders of the blocks that are complete, in the sweep's folder.
    """

    title: FolderName
    created: str
    conditions: dict[str, str]
    reference: tuple[FolderName, ...]
    cases: tuple[SweepCase, ...]
    unbuilt: tuple[Unbuilt, ...] = ()
    accuracy: str = ""
    runs: tuple[FolderName, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        slugs = [case.slug for case in self.cases]
        yield from (f"has the case {slug!r} twice" for slug in sorted(codec.repeated(slugs)))
        strangers = sorted(set(self.reference).difference(slugs))
        yield from (f"refers to {slug!r}, which is none of its cases" for slug in strangers)
