"""`Energy`: what a meter told while cases ran, and while nothing did. Nothing here is derived."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Annotated, Literal

from mvdeploy.records.limits import Count, Nanoseconds, Positive, Range

Quantity = Literal["energy", "power", "current", "voltage"]
"""What a channel tells: a counter of energy, or a power, a current or a voltage at a moment."""

Seconds = Annotated[float, Range(-1e7, 1e7)]
Raw = Annotated[int, Range(-(2**63), 2**63)]
"""A number as the system tells it."""

IDLE = ""
"""Stands in the place of a case while nothing runs."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """One number of each reading.

    Attributes:
        name: where it is read.
        quantity: what it is. A current is followed by the voltage that it goes with.
        unit: joules, watts, amperes or volts of one step of the number.
        wraps_at: of a counter, the largest number, after which it begins at 0; 0 when that is not
            known.
    """

    name: str
    quantity: Quantity
    unit: Positive
    wraps_at: Count = 0


@dataclasses.dataclass(frozen=True)
class PowerMeter:
    """What tells the power that a device takes.

    Attributes:
        source: where it is read, in words.
        of: what takes the power that it tells, such as ``the whole device, at its battery``.
        channels: what a reading consists of.
        interval_s: seconds between two readings, as far as the device keeps up.
        battery: whether it tells nothing of use while the device is being fed.
        assumed: what was taken for granted where systems differ, as a clause; empty for nothing.
    """

    source: str
    of: str
    channels: tuple[Channel, ...]
    interval_s: Positive
    battery: bool = False
    assumed: str = ""

    @property
    def counts(self) -> bool:
        """Whether it counts energy; otherwise it tells the power at a moment."""
        return self.channels[0].quantity == "energy"

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        kinds = [channel.quantity for channel in self.channels]
        pairs = len(kinds) % 2 == 0 and set(zip(kinds[::2], kinds[1::2], strict=True)) == {
            ("current", "voltage")
        }
        if not pairs and set(kinds) not in ({"energy"}, {"power"}):
            yield f"has channels that make no power: {', '.join(kinds) or 'none'}"


@dataclasses.dataclass(frozen=True)
class PowerReading:
    """What all channels told at one moment.

    Attributes:
        at_s: seconds since the meter was started.
        values: one for each channel.
    """

    at_s: Seconds
    values: tuple[Raw, ...]


@dataclasses.dataclass(frozen=True)
class EnergyBlock:
    """A stretch of time in which one case ran, or nothing.

    Attributes:
        case: slug; empty for the device at rest.
        began_s: when the first measured inference began, seconds since the meter was started.
        ended_s: when the last one had ended.
        inferences: that ran meanwhile; 0 at rest.
        inference_ns: their wall times by the runner's own clock, added up.
        readings: of that time.
        fed_before: by what the device was fed before, such as ``USB``; empty for nothing, and where
            the meter tells the same then.
        fed_after: the same, afterwards.
        problem: why it does not count, as a clause; empty when it does.
        setting: of the device; see `mvdeploy.links.Setting`.
    """

    case: str
    began_s: Seconds
    ended_s: Seconds
    inferences: Count
    inference_ns: Nanoseconds
    readings: tuple[PowerReading, ...]
    fed_before: str = ""
    fed_after: str = ""
    problem: str = ""
    setting: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s

    @property
    def inference_s(self) -> float:
        """Mean time of an inference by the runner's own clock, seconds; 0 at rest."""
        return self.inference_ns / 1e9 / max(self.inferences, 1)

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if self.ended_s < self.began_s:
            yield "ended before it began"
        if any(b.at_s < a.at_s for a, b in itertools.pairwise(self.readings)):
            yield "has readings that are not in order"
        if len({len(reading.values) for reading in self.readings}) > 1:
            yield "has readings of different channels"
        if (self.case == IDLE) is (self.inferences > 0) and not self.problem:
            yield "has inferences at rest, or none of its case"


@dataclasses.dataclass(frozen=True)
class Energy:
    """All that was seen of the energy that the cases of a run take.

    Attributes:
        meter: None when there is none that can be used.
        blocks: in the order they ran, at rest first and last.
        problem: why there is no energy, or no more of it; empty when all was measured.
        remedy: what to do about that.
    """

    meter: PowerMeter | None
    blocks: tuple[EnergyBlock, ...] = ()
    problem: str = ""
    remedy: str = ""

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        channels = len(self.meter.channels) if self.meter else 0
        if any(len(r.values) != channels for block in self.blocks for r in block.readings):
            yield "has readings that are not those of its meter"
