"""Which modules in whole numbers cost most, and which to keep in float for an SNR.

Each module is computed in whole numbers alone (what it reads, its weights and what it makes), all
others in floats: the noise at the outputs is what it adds. That the noises of modules add up is an
estimate; what a choice of modules comes to is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mvdeploy.quantization.emulation import Emulation, Rounds, alone
from mvdeploy.records.sensitivity import ModuleNoise, Sensitivity

if TYPE_CHECKING:
    from torch import Tensor


def rank(
    emulation: Emulation,
    feeds: Sequence[tuple[Tensor, ...]],
    wanted_db: float,
    on_step: Callable[[str], None] = lambda _: None,
) -> Sensitivity:
    """Rank modules, and propose what to keep in float.

    Args:
        emulation: of a program in whole numbers.
        feeds: what the network is fed: some inferences.
        wanted_db: SNR of the outputs that is to be reached.
        on_step: is told which module is looked at.
    """
    floats = [emulation.outputs(feed, lambda _: False) for feed in feeds]
    power = sum(_power(outputs) for outputs in floats)

    def noise(rounds: Rounds | None) -> float:
        pairs = zip(floats, feeds, strict=True)
        return sum(_distance(wanted, emulation.outputs(feed, rounds)) for wanted, feed in pairs)

    alone_noise: dict[str, float] = {}
    for module in emulation.modules:
        on_step(module)
        alone_noise[module] = noise(alone((module,)))
    total = sum(alone_noise.values()) or 1.0
    order = sorted(alone_noise, key=lambda module: -alone_noise[module])
    rows = tuple(
        ModuleNoise(module, _decibels(power, alone_noise[module]), alone_noise[module] / total)
        for module in order
    )
    whole_db = _decibels(power, noise(None))
    if whole_db is None or whole_db >= wanted_db:
        return Sensitivity(rows, len(feeds), whole_db, wanted_db)
    # A module with others inside it is no choice: they would be kept with it.
    can_be_kept = [m for m in order if not any(o.startswith(f"{m}.") for o in order) and m]

    def without(count: int) -> float | None:
        kept = frozenset(can_be_kept[:count])
        return _decibels(power, noise(lambda module: module not in kept))

    count = _fewest(len(can_be_kept), lambda n: _reaches(without(n), wanted_db))
    kept_db = without(count)
    reached = _reaches(kept_db, wanted_db)
    kept = tuple(can_be_kept[:count]) if reached else ()
    return Sensitivity(rows, len(feeds), whole_db, wanted_db, kept, kept_db, reached)


def _fewest(most: int, enough: Callable[[int], bool]) -> int:
    """Return the least number that is enough, taking it that more is never less; `most` if none."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _reaches(snr_db: float | None, wanted_db: float) -> bool:
    return snr_db is None or snr_db >= wanted_db


def _power(outputs: Sequence[Tensor]) -> float:
    return sum(float((o.double() ** 2).sum()) for o in outputs if o.is_floating_point())


def _distance(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    pairs = zip(wanted, got, strict=True)
    return _power([a.double() - b.double() for a, b in pairs if a.is_floating_point()])


def _decibels(power: float, noise: float) -> float | None:
    return 10 * float(np.log10(power / noise)) if noise > 0 and power > 0 else None
