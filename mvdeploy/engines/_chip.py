"""What the processor of this machine computes in, as its system tells."""

from __future__ import annotations

from pathlib import Path


def has(*extensions: str) -> bool:
    """Say whether the processor has one of some extensions, by Linux's names.

    Elsewhere it is not known, and False.

    Args:
        extensions: such as ``avx512_fp16``.
    """
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {*extensions}.isdisjoint(words)
