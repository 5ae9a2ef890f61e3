"""Whether a network takes several images at once, and which of its modules does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

Shapes = tuple[tuple[int, ...], ...]


@dataclasses.dataclass
class _Call:
    """One call of a module.

    Attributes:
        module: dotted path and class, in words.
        inputs: shapes of the tensors that it was given.
        outputs: of those that it returned; None when it raised.
        inner: the calls that it made, in order.
    """

    module: str
    inputs: Shapes = ()
    outputs: Shapes | None = None
    inner: list[_Call] = dataclasses.field(default_factory=list)


def fixed_in(
    network: nn.Module, one: Sequence[Tensor], several: Sequence[Tensor]
) -> tuple[str, str] | None:
    """Return the module in whose forward the number of images is fixed, and what came of it.

    Args:
        network: in eval mode.
        one: what it is fed for one image.
        several: likewise for more.

    Returns:
        None when every output that has one row for one image has as many as there are images.
    """
    images = max(len(tensor) for tensor in several if tensor.dim())
    many, error = _called(network, several)
    alone, _ = _called(network, one)
    rows = zip(alone.outputs or (), many.outputs or (), strict=False)
    if error is None and all(b[:1] == (images,) for a, b in rows if a[:1] == (1,)):
        return None
    outcome = f"returns {_listed(many.outputs or ())}" if error is None else f"fails: {error}"
    return _culprit(alone, many, images).module, outcome


def _culprit(one: _Call, many: _Call, images: int) -> _Call:
    """Return the innermost call that was given several images and did not return as many."""
    for a, b in reversed(list(zip(one.inner, many.inner, strict=False))):
        given = _follow(a.inputs, b.inputs, images)
        if given and not (b.outputs and _follow(a.outputs or (), b.outputs, images)):
            return _culprit(a, b, images)
    return many


def _follow(one: Shapes, many: Shapes, images: int) -> bool:
    """Say whether some tensor holds as many images as there are, in whichever dimension."""
    return any(
        len(a) == len(b)
        and ((a[:1] and a[0] * images == b[0]) or (1, images) in zip(a, b, strict=True))
        for a, b in zip(one, many, strict=False)
    )


def decided_in(network: nn.Module, examples: Sequence[Tensor]) -> str | None:
    """Return the module whose forward decides by the number of images, so that it cannot be free.

    It is run on tensors without values, whose first dimension is a symbol.

    Args:
        network: in eval mode.
        examples: what it is fed for two images or more.

    Returns:
        None when there is none, or it cannot be told.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    found: list[str] = []
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True) as mode:
        symbolic = []
        for example in examples:
            sizes = [DimDynamic.STATIC] * example.dim()
            sizes[:1] = [DimDynamic.DYNAMIC][: example.dim()]
            context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
            symbolic.append(mode.from_tensor(example, symbolic_context=context))
        images: Any = next(x for x in symbolic if x.dim()).shape[0]

        def look(name: str) -> None:
            if not found and images.node.maybe_as_int() is not None:
                found.append(name)

        with torch.no_grad(), _recorded(network, [_Call("")], look), suppress(Exception):
            network(*symbolic)
    return found[0] if found else None


def _called(network: nn.Module, inputs: Sequence[Tensor]) -> tuple[_Call, str | None]:
    """Run a network; return what was called, and the first line of what was raised."""
    top = _Call("")
    with torch.inference_mode(), _recorded(network, [top]):
        try:
            network(*inputs)
        except Exception as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            return top.inner[0], words[0]
    return top.inner[0], None


@contextmanager
def _recorded(
    network: nn.Module, open_calls: list[_Call], look: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Record the calls of all modules below the last of `open_calls`.

    Args:
        network: its forward runs meanwhile.
        open_calls: those that have not returned, the innermost last.
        look: is called when a part of a forward ends, with the module that it belongs to.
    """
    with ExitStack() as hooks:
        for path, module in network.named_modules():
            name = f"{path or 'the network itself'} ({type(module).__name__})"

            def enter(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                look(open_calls[-1].module)
                call = _Call(name, _shapes((args, kwargs)))
                open_calls[-1].inner.append(call)
                open_calls.append(call)

            def leave(_: nn.Module, args: Any, output: Any) -> None:
                call = open_calls.pop()
                call.outputs = _shapes(output)
                look(call.module)

            entered = module.register_forward_pre_hook(enter, with_kwargs=True)
            hooks.callback(entered.remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        yield


def _shapes(values: Any) -> Shapes:
    leaves = _pytree.tree_leaves(values)
    return tuple(tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor))


def _listed(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in shapes)
