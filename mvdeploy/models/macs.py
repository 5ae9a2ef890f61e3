"""Multiply-accumulates of one inference, and the module each of them belongs to.

One forward pass is observed, and everything is counted from what ran: containers, branches and
shape arithmetic in Python are no obstacle, and weights need no values (a network on torch's meta
device will do). The rule, called the true rule:

==========================  ====================================================================
convolution                 k_h·k_w·(c_in / groups) for each output element; its bias costs nothing,
                            so that folding BatchNorm does not change the count
transposed convolution      k_h·k_w·(c_out / groups) for each input element
linear layer                rows·(in·out + out), the last only with a bias
matrix product (m,k)·(k,n)  m·k·n, times the batch; an addend that is no bias costs nothing
attention, fused            its two products: rows·heads·(L·S·d + L·S·d_v); masked pairs count too
everything else             nothing
==========================  ====================================================================
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mvdeploy.dispatch import DispatchMode

Shape = tuple[int, ...]


class Kind(enum.StrEnum):
    """What an operation multiplies."""

    CONVOLUTION = "convolution"
    LINEAR = "linear"
    PRODUCT = "product"
    """A batch of matrix products; both sides are activations."""
    ATTENTION = "attention"
    """Two products fused with the softmax between them."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        module: dotted path; empty for the network itself.
        input: shape of its first tensor argument; empty if it has none.
        output: shape of its first result; empty if it has none.
    """

    module: str
    input: Shape
    output: Shape = ()


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation that multiplies.

    Attributes:
        kind: what it multiplies.
        macs: multiply-accumulates.
        call: index, in `Forward.calls`, of the innermost call that it ran in.
    """

    kind: Kind
    macs: int
    call: int


@dataclasses.dataclass(frozen=True)
class Forward:
    """What one forward pass showed.

    Attributes:
        calls: of every module, in the order in which they began; the first is the network's own.
        operations: in order.
        uncounted: operators that may multiply but have no rule; their work is in no sum.
    """

    calls: tuple[Call, ...]
    operations: tuple[Operation, ...]
    uncounted: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Multiply-accumulates of the whole."""
        return self.under("")

    def under(self, path: str) -> int:
        """Return the multiply-accumulates of a module and all that it contains."""
        return sum(op.macs for op in self.operations if contains(path, self.calls[op.call].module))


def count(network: nn.Module, *examples: Tensor) -> int:
    """Return the multiply-accumulates of one inference by the true rule.

    Args:
        network: stays as it is, in whatever mode it is.
        examples: its inputs in order, with the batch; on the network's device.
    """
    return observe(network, *examples).total


def observe(network: nn.Module, *examples: Tensor) -> Forward:
    """Run a network once, in eval mode and on a copy, and return what ran.

    Args:
        network: stays as it is, in whatever mode it is.
        examples: its inputs in order, with the batch; on the network's device.
    """
    network = copy.deepcopy(network).eval()
    recorder = _Recorder(Call("", _shape(examples[0])))
    for path, module in network.named_modules():
        # A scripted module takes no hooks; its work counts with the module around it.
        if path and not isinstance(module, torch.jit.ScriptModule):
            recorder.watch(path, module)
    # In inference mode composite operators arrive whole: a linear layer with its bias, an attention
    # with its two products, whichever kernels the device has for them.
    with torch.inference_mode(), _slow_attention(), recorder:
        recorder.finish(network(*examples))
    uncounted = tuple(sorted(recorder.uncounted))
    return Forward(tuple(recorder.calls), tuple(recorder.operations), uncounted)


def by_cvnets(forward: Forward) -> Forward:
    """Count again by the rule of the CVNets log.

    The CVNets profiler takes each attention product as rows·N·d·d, where rows·N²·d is right: its
    input has the shape (rows, N, d), with rows = B·P in MobileViT. All else is as in the true rule.
    """

    def recount(op: Operation) -> Operation:
        products = {Kind.PRODUCT: 1, Kind.ATTENTION: 2}.get(op.kind, 0)
        tokens = forward.calls[op.call].input
        if not products or len(tokens) != 3:
            return op
        return dataclasses.replace(op, macs=products * math.prod(tokens) * tokens[-1])

    return dataclasses.replace(forward, operations=tuple(map(recount, forward.operations)))


def contains(path: str, module: str) -> bool:
    """Return whether a dotted path is that of a module or of something in it."""
    return not path or module == path or module.startswith(f"{path}.")


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Keep nn.MultiheadAttention from its fused kernel, which shows nothing of what it does."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Recorder(DispatchMode):
    """Writes down calls of modules and operations that multiply."""

    def __init__(self, whole: Call) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = [whole]
        self.operations: list[Operation] = []
        self.uncounted: set[str] = set()
        self._running = [0]

    def watch(self, path: str, module: nn.Module) -> None:
        """Follow a module's calls."""

        def begin(_: nn.Module, args: Any, kwargs: Any) -> None:
            self._running.append(len(self.calls))
            self.calls.append(Call(path, _shape((args, kwargs))))

        def end(_: nn.Module, args: Any, output: Any) -> None:
            self.finish(output)

        # Before all other hooks, whose work counts with the module too.
        module.register_forward_pre_hook(begin, prepend=True, with_kwargs=True)
        # Also after an exception: the network may catch it and go on.
        module.register_forward_hook(end, always_call=True)

    def finish(self, output: Any) -> None:
        """Close the innermost call."""
        i = self._running.pop()
        self.calls[i] = dataclasses.replace(self.calls[i], output=_shape(output))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func.overloadpacket)
        if rule is None and func.namespace != "prim":
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if rule is not None:
            kind, macs = rule
            named = _arguments(func, args, kwargs)
            self.operations.append(Operation(kind, macs(named, result), self._running[-1]))
        elif func.namespace not in _KNOWN or func.overloadpacket in _UNCOUNTED:
            self.uncounted.add(str(func.overloadpacket))
        return result


_KNOWN = ("aten", "prim", "prims")
"""Namespaces whose operators without a rule are known not to multiply, `_UNCOUNTED` aside."""

_UNCOUNTED = {
    torch.ops.aten._trilinear,
    torch.ops.aten._cdist_forward,
    torch.ops.aten.mkldnn_rnn_layer,
    torch.ops.aten._native_multi_head_attention,
    torch.ops.aten._transformer_encoder_layer_fwd,
    torch.ops.aten._grouped_mm,
    torch.ops.aten._fft_r2c,
    torch.ops.aten._fft_c2c,
    torch.ops.aten._fft_c2r,
}


def _shape(tree: Any) -> Shape:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            return tuple(leaf.shape)
    return ()


def _arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = (argument.name for argument in func._schema.arguments)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _convolution(arguments: dict[str, Any], out: Tensor) -> int:
    # The weight is (c_out, c_in / groups, *kernel), transposed (c_in, c_out / groups, *kernel).
    each = int(math.prod(arguments["weight"].shape[1:]))
    elements: int = arguments["input"].numel() if arguments.get("transposed") else out.numel()
    return elements * each


def _linear(arguments: dict[str, Any], out: Tensor) -> int:
    inner: int = arguments["weight"].shape[-1]
    has_bias = arguments.get("bias") is not None
    return out.numel() * (inner + has_bias)


def _addmm(arguments: dict[str, Any], out: Tensor) -> int:
    has_bias: bool = arguments["self"].dim() == 1
    inner: int = arguments["mat1"].shape[1]
    return out.numel() * (inner + has_bias)


def _product(left: str) -> Callable[[dict[str, Any], Tensor], int]:
    def macs(arguments: dict[str, Any], out: Tensor) -> int:
        inner: int = arguments[left].shape[-1]
        return out.numel() * inner

    return macs


def _addbmm(arguments: dict[str, Any], out: Tensor) -> int:
    batch, _, inner = arguments["batch1"].shape
    return int(out.numel() * batch * inner)


def _attention(arguments: dict[str, Any], out: Any) -> int:
    query, key, value = (arguments[name].shape for name in ("query", "key", "value"))
    mixed: Tensor = out[0] if isinstance(out, tuple) else out
    # Per pair of a query and a key: d products for the logit, d_v for the mix.
    rows = math.prod(mixed.shape[:-1])
    return int(rows * key[-2] * (query[-1] + value[-1]))


_aten = torch.ops.aten
_RULES: dict[Any, tuple[Kind, Callable[[dict[str, Any], Any], int]]] = {
    _aten.convolution: (Kind.CONVOLUTION, _convolution),
    _aten.linear: (Kind.LINEAR, _linear),
    _aten.addmm: (Kind.LINEAR, _addmm),
    _aten.mm: (Kind.LINEAR, _product("self")),
    _aten.mv: (Kind.LINEAR, _product("self")),
    _aten.addmv: (Kind.LINEAR, _product("mat")),
    _aten.dot: (Kind.LINEAR, _product("self")),
    _aten.vdot: (Kind.LINEAR, _product("self")),
    _aten.bmm: (Kind.PRODUCT, _product("self")),
    _aten.baddbmm: (Kind.PRODUCT, _product("batch1")),
    _aten.addbmm: (Kind.PRODUCT, _addbmm),
    **dict.fromkeys(
        (
            _aten.scaled_dot_product_attention,
            _aten._scaled_dot_product_attention_math,
            _aten._scaled_dot_product_flash_attention_for_cpu,
            _aten._scaled_dot_product_flash_attention,
            _aten._scaled_dot_product_efficient_attention,
            _aten._scaled_dot_product_cudnn_attention,
            _aten._scaled_dot_product_fused_attention_overrideable,
        ),
        (Kind.ATTENTION, _attention),
    ),
}
