"""Which networks become which formats: what ``benchmarks/support.py`` found, network by network."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import NamedTuple

TABLE = "support.csv"

AGREES, DIFFERS, CANNOT = "agrees", "differs", "cannot"
"""The file computes what the network does; it does not; there is none, for a reason."""

DELEGATES = (
    "delegates / operators that none took; plain: ExecuTorch's of the network as its class is "
    "written, and where it was measured, how many times as long one inference of it took, with the "
    "interval"
)
"""What the numbers of programs mean that run in delegates."""


class Support(NamedTuple):
    """What came of the export of a network.

    Attributes:
        network: as it is typed; with its task, if that is not the usual: ``mobilevit_xs detect``.
        format: of the file.
        outcome: `AGREES`, `DIFFERS` or `CANNOT`.
        delegates: of an ExecuTorch or LiteRT program; empty for other formats.
        outside: operators of it that no delegate took.
        plain_delegates: the same of the network as its class is written, in ExecuTorch.
        plain_outside: and of that.
        plain_latency: its latency by that of the other: paired, measured on a host.
        plain_low: lower bound of it, at 95 %.
        plain_high: upper bound.
        ratio: error as a multiple of rounding's; empty where it is not judged so.
        cause: why it differs or cannot.
    """

    network: str
    format: str
    outcome: str
    delegates: str = ""
    outside: str = ""
    plain_delegates: str = ""
    plain_outside: str = ""
    plain_latency: str = ""
    plain_low: str = ""
    plain_high: str = ""
    ratio: str = ""
    cause: str = ""

    @property
    def text(self) -> str:
        """What a cell of the table says."""
        if self.outcome != AGREES:
            return f"{self.outcome}: {self.cause}"
        if not self.delegates:
            return self.outcome
        before = f" (plain {self.plain_delegates} / {self.plain_outside}{self._times})"
        now = f"{self.delegates} / {self.outside}"
        return f"{self.outcome}, {now}{before if self.plain_delegates else ''}"

    @property
    def _times(self) -> str:
        if not self.plain_latency:
            return ""
        return f"; {self.plain_latency}×, {self.plain_low}–{self.plain_high}"


def found() -> tuple[Support, ...]:
    """Return what was found, in the order of the networks."""
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    return tuple(Support(**row) for row in csv.DictReader(text.splitlines()))


def table(rows: Sequence[Support]) -> Iterator[tuple[str, ...]]:
    """Yield the table: its head, and a line for each network with a cell for each format."""
    formats = tuple(dict.fromkeys(row.format for row in rows))
    cells = {(row.network, row.format): row.text for row in rows}
    yield ("network", *formats)
    for network in dict.fromkeys(row.network for row in rows):
        yield (network, *(cells.get((network, name), "not tried") for name in formats))
