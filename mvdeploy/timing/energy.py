"""Blocks of time in which one case runs, and such in which nothing does, while a meter is read.

The latency of a case is not taken here: a meter that is read disturbs. Each block of a case is a
job of its own. The runner tells when its last warm-up ended and when its last inference did, and
only what lies between counts: neither loading nor the warm-up does. Rounds of all cases, every
second one in reverse, have the device at rest before and after them.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.links import Link
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.records import Job, Plan
from mvdeploy.records.energy import IDLE, Energy, EnergyBlock
from mvdeploy.stats.energy import update_s
from mvdeploy.timing.case import Entry

ROUNDS = 6
"""Blocks of each case; even, so that each case comes before each other equally often."""

_LOOK_S = 5.0
"""Seconds in which it is seen how often the meter tells something new."""

_UPDATES = 20
"""Times that it has to within a block, so that what it is late by is 5 % of the block."""

_SHORTEST_S, _USUAL_S, _LONGEST_S = 4.0, 10.0, 30.0
_PAUSE_S = 1.0
"""Seconds for a device to come to rest."""

_MOST = 2_000_000
"""Inferences of a block at most: a job lists them one by one."""

_APART, _APART_S = 0.25, 0.25
"""Share of a block, and seconds beside it, by which the length of the block may differ from the sum
of its inferences."""

_SLACK_S, _SLACK_FACTOR = 60.0, 10.0
"""A job counts as hung after this many seconds plus this many times its expected length."""

_UNFINISHED = "The run ended before all blocks of it had run."
_AGAIN = "Run the same command again."

OnEnergy = Callable[[Energy], None]


def energy(
    entries: Sequence[Entry],
    link: Link,
    plan: Plan,
    estimates_ns: Mapping[str, float],
    keep: OnEnergy = lambda _: None,
    on_step: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Have a meter read while cases run in turns, and while nothing does.

    Args:
        entries: the cases.
        link: an open link to the device.
        plan: with ``energy_block_s``.
        estimates_ns: what one inference takes, about, by the case's slug.
        keep: is given what is known, after each block.
        on_step: is told what begins.
        sleep: waits for some seconds.

    Returns:
        All that the meter told; without blocks, and with the reason, where there is no meter. When
        the device is lost, or is being fed, what was seen until then.
    """
    try:
        meter = link.meter()
        keep(Energy(meter.about, (), _UNFINISHED, _AGAIN))
        with meter:
            return _Blocks(meter, link, plan, dict(estimates_ns), keep, on_step, sleep).run(entries)
    except (Unmetered, DeviceUnavailable) as error:
        found = Energy(None, (), error.message, error.remedy)
        keep(found)
        return found


class _Ended(Exception):
    """There can be no more blocks."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class _Blocks:
    """The blocks of one run, as they are taken."""

    def __init__(
        self,
        meter: Meter,
        link: Link,
        plan: Plan,
        estimates_ns: dict[str, float],
        keep: OnEnergy,
        on_step: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._meter, self._link, self._plan = meter, link, plan
        self._estimates, self._keep, self._on_step, self._sleep = (
            estimates_ns,
            keep,
            on_step,
            sleep,
        )
        self._blocks: list[EnergyBlock] = []
        self._given_up: set[str] = set()
        self._fed = ""
        self._block_s = plan.energy_block_s or 0.0

    def run(self, entries: Sequence[Entry]) -> Energy:
        problem = remedy = ""
        try:
            self._fed = self._meter.fed()
            self._block_s = self._block_s or self._needed_s()
            for setting in dict.fromkeys(entry.setting for entry in entries):
                self._link.take(setting)
                self._rounds([e for e in entries if e.setting == setting], setting)
        except (_Ended, Unmetered, DeviceUnavailable) as ended:
            problem, remedy = ended.message, ended.remedy
        found = Energy(self._meter.about, tuple(self._blocks), problem, remedy)
        self._keep(found)
        return found

    def _needed_s(self) -> float:
        """Return how long blocks have to be for the meter."""
        self._on_step("energy: see how often the meter tells something new")
        self._sleep(_LOOK_S)
        readings = self._meter.between(0.0, self._meter.now())
        seen = update_s([EnergyBlock(IDLE, 0.0, _LOOK_S, 0, 0, readings)])
        if seen is None:
            return _USUAL_S
        return min(max(_UPDATES * seen, _SHORTEST_S), _LONGEST_S)

    def _rounds(self, entries: Sequence[Entry], setting: str) -> None:
        order = list(entries)
        random.Random(f"{self._plan.seed}/energy/{setting}").shuffle(order)
        self._rest(setting)
        for number in range(ROUNDS):
            for entry in order if number % 2 == 0 else reversed(order):
                if entry.slug not in self._given_up:
                    self._on_step(f"energy: {entry.slug}, block {number + 1} of {ROUNDS}")
                    self._case(entry)
            self._rest(setting)

    def _rest(self, setting: str) -> None:
        self._on_step("energy: the device at rest")
        self._link.settle()
        self._sleep(min(_PAUSE_S, self._block_s))
        began = self._meter.now()
        self._sleep(self._block_s)
        self._add(EnergyBlock(IDLE, began, self._meter.now(), 0, 0, (), setting=setting))

    def _case(self, entry: Entry) -> None:
        estimate = max(self._estimates.get(entry.slug, 1e6), 1.0)
        count = min(max(1, math.ceil(self._block_s * 1e9 / estimate)), _MOST)
        threads = entry.threads or self._plan.threads
        plan = self._plan
        job = Job((entry.model,), (0,) * count, threads, plan.warmup, plan.cores)
        window = _Window(self._meter)
        limit = _SLACK_S + _SLACK_FACTOR * (count * estimate / 1e9 + plan.warmup.max_seconds)
        try:
            result = self._link.run(job, plan.time_limit_s or limit, window)
        except EngineError as error:
            self._given_up.add(entry.slug)
            now = self._meter.now()
            problem = error.message.rstrip(".")
            self._add(EnergyBlock(entry.slug, now, now, 0, 0, (), "", "", problem, entry.setting))
            return
        wall_ns = sum(result.samples.wall_ns)
        self._estimates[entry.slug] = wall_ns / count
        block = EnergyBlock(
            entry.slug, window.began, window.ended, count, wall_ns, (), setting=entry.setting
        )
        apart = abs(block.seconds - wall_ns / 1e9)
        if apart > _APART * wall_ns / 1e9 + _APART_S:
            problem = (
                f"by the runner's own times it took {wall_ns / 1e9:.2g} s, and {block.seconds:.2g} "
                "s passed between its events"
            )
            block = dataclasses.replace(block, problem=problem)
        self._add(block)

    def _add(self, block: EnergyBlock) -> None:
        """Keep a block with its readings; the last one when the device is being fed now.

        Raises:
            _Ended: it is.
        """
        before = self._fed
        self._fed = self._meter.fed()
        block = dataclasses.replace(
            block,
            readings=self._meter.between(block.began_s, block.ended_s),
            fed_before=before,
            fed_after=self._fed,
        )
        ended: _Ended | None = None
        if self._meter.about.battery and (how := before or self._fed):
            block = dataclasses.replace(block, problem=f"the device was being fed ({how})")
            ended = _Ended(
                f"The device was being fed ({how}) from block {len(self._blocks) + 1} on.",
                "Keep it off its cable and its charger while it is measured, and run again.",
            )
        self._blocks.append(block)
        about, blocks = self._meter.about, tuple(self._blocks)
        self._keep(Energy(about, blocks, _UNFINISHED, _AGAIN))
        if ended is not None:
            raise ended


class _Window:
    """Hears from a runner when its measured inferences begin and end.

    Args:
        meter: whose time it is told in.

    Attributes:
        began: when the warm-up had ended.
        ended: when the last inference had.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.began = self.ended = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "warmup":
            self.began = self.ended = self._meter.now()
        elif event["event"] == "samples":
            self.ended = self._meter.now()


def unmetered(link: Link) -> MvdeployError | None:
    """Return why no energy can be measured on a device as it is now; None when it can."""
    try:
        link.meter()
    except Unmetered as error:
        return error
    return None
