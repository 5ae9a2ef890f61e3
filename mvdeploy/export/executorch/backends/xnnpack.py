"""CPUs, through XNNPACK, in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RUNS_ON = ""
FORMULATION = "delegable"
PACKAGES: tuple[str, ...] = ()
NEEDED = ("softmax",)
REWRITINGS = (
    *NEEDED,
    *("attention", "products", "norms", "means", "parts", "powers", "windows"),
    *("hard_activations", "identities", "resizing", "scalars"),
)


def partitioners() -> list[Any]:
    """Return the partitioner with its defaults."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]


@contextmanager
def lowering() -> Iterator[None]:
    """Record what becomes of each node, and leave out work that changes nothing."""
    from mvdeploy.export.executorch import recording, saving

    with recording.recorded(), saving.saved():
        yield
