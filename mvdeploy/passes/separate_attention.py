"""Give attention projections of its own for queries, keys and values, and three dimensions.

Given one packed projection and products of (B, heads, N, d)::

    q, k, v = split(qkv(x));  softmax(q·s @ kᵀ) @ v

Result, the scale in q's weights and every product one of (B·heads, N, d)::

    q(x), k(x), v(x);  bmm(softmax(bmm(q, kᵀ)), v)

Engines without products of four dimensions run this as it is. A module says itself how it is
written so: its method ``separated()`` returns what goes into its place, with the same weights.
"""

from __future__ import annotations

from torch import nn

from mvdeploy.errors import CheckFailed
from mvdeploy.passes._modules import Examples, replace, with_method

TOLERANCE = 1e-5


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Replace every module that has ``separated``; attention of other libraries has not."""
    changed = []
    for path, module in list(with_method(network, "separated")):
        replace(network, module, module.separated())  # type: ignore[operator]
        changed.append(f"{path} into q, k and v")
    return changed, []


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that no packed projection is left."""
    for path, _ in with_method(network, "separated"):
        raise CheckFailed(
            f"The attention '{path}' could be separated but was not.",
            "Report the network that shows it.",
        )
