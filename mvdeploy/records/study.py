"""`Study`: a table of a paper as cases of one's own; `StudyRun`: what was measured of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal

from mvdeploy.records import codec
from mvdeploy.records.limits import Filled, FolderName, Positive, Size

Quantity = Literal["latency", "accuracy", "parameters", "share"]


@dataclasses.dataclass(frozen=True)
class StudyRow:
    """A row: a network, or one that is only published where no model is named.

    Attributes:
        name: in tables.
        model: as it is typed; empty for a row that only has published numbers.
        patches: as they are typed; empty for the model's own.
        image_size: likewise.
        task: likewise.
        arguments: keywords for what makes the network, as they are typed.
        parameters: millions, about; how many cases fit into memory together depends on them.
        note: what a reader has to know of the row.
    """

    name: Annotated[str, Filled()]
    model: str = ""
    patches: str = ""
    image_size: str = ""
    task: str = ""
    arguments: tuple[str, ...] = ()
    parameters: Positive = 10.0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Published:
    """Numbers of a paper.

    Attributes:
        quantity: what they are.
        title: of their column, without the unit.
        unit: ``ms``, ``%``, ``M`` …
        where: the device and how it was measured on it; for accuracy the data.
        source: the paper and the table in it.
        values: by name of the row.
        device: name of the profile of that device; empty where there is none.
        part: title of the part that a share is of.
    """

    quantity: Quantity
    title: Annotated[str, Filled()]
    unit: Annotated[str, Filled()]
    where: Annotated[str, Filled()]
    source: Annotated[str, Filled()]
    values: dict[str, Size]
    device: str = ""
    part: str = ""


@dataclasses.dataclass(frozen=True)
class StudyPart:
    """A part of the latency that is compared.

    Attributes:
        title: in tables.
        of: ids of categories, or kinds of operators, that belong to it.
    """

    title: Annotated[str, Filled()]
    of: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Study:
    """A table or a figure of a paper, to be measured on a device of one's own.

    Attributes:
        title: what is compared.
        paper: whose, and the table in it.
        about: what the paper finds, in a sentence or two.
        reference: name of the row that ratios are to; it runs beside all others.
        rows: in the order of the paper.
        published: its numbers.
        divided: by what latencies are divided: ``category``, ``kind`` of operators, or not.
        parts: into which they are divided.
        limit_ms: latency that a figure marks.
        limit_title: what that means.
    """

    title: Annotated[str, Filled()]
    paper: Annotated[str, Filled()]
    about: str
    reference: str
    rows: tuple[StudyRow, ...]
    published: tuple[Published, ...] = ()
    divided: Literal["", "category", "kind"] = ""
    parts: tuple[StudyPart, ...] = ()
    limit_ms: Positive | None = None
    limit_title: str = ""

    @property
    def measurable(self) -> tuple[StudyRow, ...]:
        """The rows with a network, the reference first."""
        rows = [row for row in self.rows if row.model]
        return tuple(sorted(rows, key=lambda row: row.name != self.reference))

    def series(self, quantity: Quantity) -> tuple[Published, ...]:
        """Return the published numbers of one kind."""
        return tuple(one for one in self.published if one.quantity == quantity)

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        names, parts = [row.name for row in self.rows], [part.title for part in self.parts]
        yield from (f"has the row {name!r} twice" for name in sorted(codec.repeated(names)))
        yield from (f"has the part {name!r} twice" for name in sorted(codec.repeated(parts)))
        if self.reference not in [row.name for row in self.measurable]:
            yield f"has no row {self.reference!r} with a model, which its 'reference' names"
        if bool(self.parts) != bool(self.divided):
            yield "has 'parts' without 'divided', or 'divided' without 'parts'"
        for one in self.published:
            strangers = sorted(set(one.values).difference(names))
            yield from (f"has published numbers of {name!r}, which is no row" for name in strangers)
            if one.quantity == "share" and one.part not in parts:
                yield f"has published shares of {one.part!r}, which is no part"


@dataclasses.dataclass(frozen=True)
class StudyWay:
    """A way in which all rows are measured.

    Attributes:
        format: of the exports.
        precision: that they compute in.
    """

    format: Annotated[str, Filled()]
    precision: str


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """What was measured of a study.

    Attributes:
        name: of the study.
        study: as it was.
        created: ISO 8601, UTC.
        conditions: what decides the numbers; other conditions have a folder of their own.
        ways: in which all rows are measured.
        cases: by row: the slug of its case in each of the ways.
        runs: folders of the runs that are complete, in the study's folder.
    """

    name: FolderName
    study: Study
    created: str
    conditions: dict[str, str]
    ways: tuple[StudyWay, ...]
    cases: dict[str, tuple[FolderName, ...]]
    runs: tuple[FolderName, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        for name, slugs in self.cases.items():
            if len(slugs) != len(self.ways):
                yield f"has {len(slugs)} cases of {name!r} for {len(self.ways)} formats"
