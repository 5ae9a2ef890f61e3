"""The energy that cases of a run take, after all else has been measured of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from mvdeploy import links
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.pipeline.store import Store
from mvdeploy.records import Plan
from mvdeploy.records.energy import Energy
from mvdeploy.timing import energy
from mvdeploy.timing.case import Entry


def steps(cases: int) -> int:
    """Return how many steps `measure` will announce, about."""
    return energy.ROUNDS * (cases + 1) + 2


def warn(link: links.Link, on_step: Callable[[str], None]) -> None:
    """Tell before the run why there will be no energy in it, if there will be none.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    why = energy.unmetered(link)
    if why is not None:
        on_step(f"energy is unavailable as things are: {why.message} {why.remedy}")


def measure(
    entries: Sequence[Entry],
    link: links.Link,
    plan: Plan,
    store: Store,
    on_step: Callable[[str], None],
) -> None:
    """Measure the energy of cases that have a latency, and keep what the meter tells.

    Whatever goes wrong is kept as the reason why there is no energy, or no more of it.
    """
    if entries:
        energy.energy(entries, link, plan, _estimates(entries, store), store.metered, on_step)


def unmeasured(lost: DeviceUnavailable, store: Store) -> None:
    """Keep that the device was gone before its energy could be measured."""
    store.metered(Energy(None, (), lost.message, lost.remedy))


def _estimates(entries: Sequence[Entry], store: Store) -> dict[str, float]:
    """Return what one inference of each case takes, nanoseconds."""
    times: dict[str, tuple[int, ...]] = {}
    for comparison in store.comparisons:
        for group in comparison.groups:
            times |= {comparison.a: group.a.wall_ns, comparison.b: group.b.wall_ns}
    for entry in entries:
        measurement = store.case(entry.slug).measurement
        if measurement is not None and len(measurement.steady):
            times[entry.slug] = measurement.steady.wall_ns
    return {slug: statistics.median(taken) for slug, taken in times.items() if taken}
