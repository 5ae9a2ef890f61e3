"""Which operators use a tensor of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from mvdeploy.dispatch import DispatchMode

_VIEWS = ("view", "_unsafe_view")


class Uses(DispatchMode):
    """Counts how often each tensor is an operator's argument. Keeps them, so that ids stay true.

    Attributes:
        count: by the tensor's id.
        writers: operators that changed a tensor in place, by its id.
        viewed: what a view with the same last axis is of, by the view's id.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self.writers: dict[int, str] = {}
        self.viewed: dict[int, Tensor] = {}
        self.kept: list[Any] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self.kept.append(leaf)
                self.count[id(leaf)] += 1
        for argument, value in zip(func._schema.arguments, args, strict=False):  # type: ignore[attr-defined]
            if argument.is_write:
                self.writers[id(value)] = func.__name__.partition(".")[0]
        result = func(*args, **(kwargs or {}))
        if func.__name__.partition(".")[0] in _VIEWS and result.shape[-1:] == args[0].shape[-1:]:
            self.kept.append(result)
            self.viewed[id(result)] = args[0]
        return result
