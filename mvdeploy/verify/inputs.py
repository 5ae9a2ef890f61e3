"""Inputs that an export is checked on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]


def synthetic(shape: tuple[int, ...], seed: int = 0) -> dict[str, Image]:
    """Return inputs in 0..1 that differ as much as they can: noise and the extremes.

    Args:
        shape: (batch, 3, height, width).
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    ramp = np.linspace(0, 1, shape[-1], dtype=np.float32)
    return {
        "noise": noise,
        "ramp": np.ascontiguousarray(np.broadcast_to(ramp, shape)),
        "black": np.zeros(shape, np.float32),
        "white": np.ones(shape, np.float32),
    }
