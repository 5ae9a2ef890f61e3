"""Find what makes a network give other results each time it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mvdeploy.dispatch import DispatchMode
from mvdeploy.errors import UsageError

_SAME = 1e-4
"""How far two runs without random operators may differ, relative to the largest output."""


def check(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a network whose outputs are random, as with a dropout that stays active.

    Args:
        network: in eval mode.
        inputs: an example of each.

    Raises:
        UsageError: names the first module with a random operator, and its line.
    """
    watch = _Watch(network)
    with torch.random.fork_rng(devices=()), torch.no_grad():
        with watch:
            first = _outputs(network, inputs)
        second = _outputs(network, inputs)
    pairs = list(zip(first, second, strict=False))
    if watch.found:
        same = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)
        where = f": {watch.found}"
    else:
        same = all(_near(a, b) for a, b in pairs)
        where = ", with numbers that are not torch's"
    if not same:
        raise UsageError(
            f"The network gives other outputs each time it runs{where}.",
            "Make it the same in eval mode, as F.dropout(x, p, self.training) is.",
        )


def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    # What is fed may be changed in place.
    result = network(*(tensor.clone() for tensor in inputs))
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _near(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    a, b = one.double().nan_to_num(), other.double().nan_to_num()
    return not a.numel() or bool((a - b).abs().max() <= _SAME * a.abs().max())


class _Watch(DispatchMode):
    """Notes the first operator that draws random numbers.

    Attributes:
        found: which, in which module and in which line of it; empty for none.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = ""
        self._network = network
        self._running: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> _Watch:
        for path, module in self._network.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, p=path: self._running.append(p))
            leave = module.register_forward_hook(lambda *_: self._leave(), always_call=True)
            self._hooks += [enter, leave]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _leave(self) -> None:
        self._running.pop()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        random = torch.Tag.nondeterministic_seeded in func.tags  # type: ignore[attr-defined]
        if random and not self.found:
            path = self._running[-1] if self._running else ""
            module = f"in '{path}'" if path else "in the network itself"
            name = func.__name__.partition(".")[0].rstrip("_")
            self.found = f"{name} {module}{_line()}"
        return func(*args, **(kwargs or {}))


def _line() -> str:
    """Return which line of the network's code runs."""
    libraries = (str(Path(torch.__file__).parent), __file__, "<")
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not _outputs.__code__:
        frame = frame.f_back
        file = frame.f_code.co_filename
        if not file.startswith(libraries):
            return f" ({Path(file).name}, line {frame.f_lineno})"
    return ""
