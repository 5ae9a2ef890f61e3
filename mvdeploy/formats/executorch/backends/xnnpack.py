"""CPUs, through XNNPACK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mvdeploy.formats.executorch.half import Half
from mvdeploy.quantization import Target

RUNS_ON = ""
FORMULATION = "delegable"
PACKAGES: tuple[str, ...] = ()
NEEDED = ("softmax",)
REWRITINGS = (
    *NEEDED,
    *("attention", "products", "norms", "means", "parts", "powers", "windows"),
    *("hard_activations", "identities", "resizing", "scalars"),
)
TARGETS = {
    "int8": Target(one_scale=True),
    "int8-dynamic": Target(),
    "int8-fast": Target(others=("add", "mul", "cat", "silu"), one_scale=True),
}

HALF = Half(
    # XNNPACK has no GELU in half; squares of what is above 255 overflow in it.
    float32=(
        *("aten.layer_norm.default", "aten.group_norm.default", "aten.gelu.default"),
        *("aten.linalg_vector_norm.default", "aten.norm.ScalarOpt_dim"),
    ),
    rewritings=("silu",),
)


def partitioners() -> list[Any]:
    """Return the partitioner with its defaults."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]


@contextmanager
def lowering() -> Iterator[None]:
    """Record what becomes of each node, and leave out work that changes nothing."""
    from mvdeploy.formats.executorch import half, recording, saving

    with recording.recorded(), saving.saved(), _whole_sigmoids(), half.conversions():
        yield


@contextmanager
def _whole_sigmoids() -> Iterator[None]:
    """Have sigmoids taken in whole numbers: XNNPACK has them, ExecuTorch's partitioner (1.5) not.

    Raises:
        EngineError: this ExecuTorch has not what is changed.
    """
    from executorch.backends.xnnpack.partition.config import generic_node_configs as configs
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    from mvdeploy.errors import EngineError

    kind: Any = getattr(configs, "SigmoidConfig", None)
    own = getattr(kind, "supported_precision_types", None)
    if own is None:
        raise EngineError(
            "This version of ExecuTorch does not say which precisions it has sigmoids in.",
            "Install the version of executorch that mvdeploy asks for.",
        )

    def types(self: Any) -> list[Any]:
        return [*dict.fromkeys((*own(self), ConfigPrecisionType.STATIC_QUANT))]

    kind.supported_precision_types = types
    try:
        yield
    finally:
        kind.supported_precision_types = own
