"""`Sensitivity`: which modules in whole numbers cost how much."""

from __future__ import annotations

import dataclasses

from mvdeploy.records.limits import Count, Decibels, Share


@dataclasses.dataclass(frozen=True)
class ModuleNoise:
    """What a module in whole numbers costs where it is the only one.

    Attributes:
        module: its path.
        snr_db: of the network's outputs; None where they do not change.
        share: of the noise that all modules add, each alone.
    """

    module: str
    snr_db: Decibels | None
    share: Share


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """All modules, the costliest first, and which are better kept in float.

    Attributes:
        modules: see above.
        images: how many it was computed on.
        snr_db: of the outputs with all of them in whole numbers.
        wanted_db: SNR that was asked for.
        kept: modules that reach it when they stay in float, as few as were found.
        kept_db: SNR with these in float; None where none are proposed, or nothing is left.
        reached: it is reached.
    """

    modules: tuple[ModuleNoise, ...]
    images: Count
    snr_db: Decibels | None
    wanted_db: Decibels
    kept: tuple[str, ...] = ()
    kept_db: Decibels | None = None
    reached: bool = True
