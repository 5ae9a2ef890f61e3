"""Write blocks over tokens with channels first: (rows, channels, 1, tokens), 1x1 convolutions.

Given a block whose tokens are (rows, tokens, channels)::

    Linear(LayerNorm(x));  (rows, tokens, heads, d) -> products of (rows, heads, tokens, d)

Result, with what a LayerNorm multiplies and adds, and the scale of the queries, in the weights::

    Conv2d 1x1 (normalised over axis 1);  (rows, heads, d, tokens)

Apple's Neural Engine runs this without moving tokens between operators. A module says itself how it
is written so: its method ``channels_first()`` returns what goes into its place, with the same input
and output. Outputs stay the same: all that is moved into weights are products of them.
"""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.errors import CheckFailed
from mvdeploy.passes._modules import Call, Examples, calls, replace, with_method

TOLERANCE = 1e-5

METHOD = "channels_first"

OVER_TOKENS = (nn.Linear, nn.LayerNorm)
"""What works on the last dimension, so that channels first means to write it otherwise."""


def requires(network: nn.Module) -> None:
    """Every network will do."""


def rewrite(network: nn.Module, example: Examples) -> tuple[list[str], list[str]]:
    """Replace every module that has ``channels_first``; blocks of other libraries have not."""
    changed = []
    for path, module in list(with_method(network, METHOD)):
        replace(network, module, module.channels_first())  # type: ignore[operator]
        changed.append(path)
    reason = "nothing around it says how it is written channels first"
    return changed, [f"{path}: {reason}" for path in _channels_last(network, example)]


def ensures(network: nn.Module, example: Examples) -> None:
    """Check that no block is left that says how it is written channels first."""
    for path, _ in with_method(network, METHOD):
        raise CheckFailed(
            f"The block '{path}' could be written channels first but was not.",
            "Report the network that shows it.",
        )


def _channels_last(network: nn.Module, example: Examples) -> list[str]:
    """Return the layers over the last dimension, but for those that were fed vectors (B, C)."""
    layers = {path: m for path, m in network.named_modules() if isinstance(m, OVER_TOKENS)}
    seen = calls(network, layers.values(), example)
    return [path for path, m in layers.items() if not all(map(_of_vectors, seen.get(m, [None])))]


def _of_vectors(call: Call | None) -> bool:
    argument = call[0][0] if call and call[0] else None
    return isinstance(argument, Tensor) and argument.dim() <= 2
