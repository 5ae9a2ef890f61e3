"""Core ML, in single precision; lowered ahead of time on any machine.

The program holds an identifier that Core ML's exporter draws at random, so that two exports of one
network are not the same byte for byte.
"""

from __future__ import annotations

import contextlib
import gc
import io
import warnings
from collections.abc import Iterator
from typing import Any

RUNS_ON = "an Apple device"
FORMULATION = "plain"
REWRITINGS: tuple[str, ...] = ()
NEEDED: tuple[str, ...] = ()
PACKAGES = ("coremltools",)


def partitioners() -> list[Any]:
    """Return the partitioner for iOS 16 and later."""
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=coremltools.precision.FLOAT32,
        compute_unit=coremltools.ComputeUnit.ALL,
        minimum_deployment_target=coremltools.target.iOS16,
    )
    return [CoreMLPartitioner(compile_specs=specs)]


@contextlib.contextmanager
def lowering() -> Iterator[None]:
    """Keep back progress bars (errors are raised), and remove temporary folders."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        # It leaves its temporary folders to the garbage collector, which complains.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()
