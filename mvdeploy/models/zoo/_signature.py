"""What a network of the user's takes and returns: as its factory declares it, and as it shows."""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mvdeploy.errors import UsageError
from mvdeploy.records import TensorInfo
from mvdeploy.tasks import tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

_VALUES: dict[str, tuple[float, float] | None] = {
    "float32": (0.0, 1.0),
    "uint8": (0, 255),
    "bool": (0, 1),
    "int64": None,
    "int32": None,
    "int16": None,
    "int8": None,
}
"""Element types of inputs, and the values they are fed where nothing is said."""

_EXAMPLE = (
    '{"image": (1, 3, 224, 224), "tokens": {"shape": (1, 16), "dtype": "int64", "values": (0, 99)}}'
)
_KEYS = ("shape", "dtype", "values")


class Seen(NamedTuple):
    """What one run of a network showed.

    Attributes:
        result: what it returned.
        outputs: every tensor of that.
    """

    result: Any
    outputs: tuple[TensorInfo, ...]


def declared_inputs(name: str, factory: Any, network: nn.Module) -> tuple[TensorInfo, ...]:
    """Return what the attribute ``inputs`` of a factory says, in the order of the forward.

    Raises:
        UsageError: it is not a dict of shapes, or of dicts with shape, dtype and values.
    """
    declared = getattr(factory, "inputs", None)
    if declared is None or declared == {}:
        return ()
    if not isinstance(declared, Mapping):
        raise _wrong(name, f"are a {type(declared).__name__}")
    found = {str(key): _input(name, str(key), value) for key, value in declared.items()}
    taken = [p.name for p in inspect.signature(network.forward).parameters.values()]
    names = list(found)
    if set(names) <= set(taken):
        names.sort(key=taken.index)
    return tuple(found[each] for each in names)


def _input(name: str, key: str, value: Any) -> TensorInfo:
    entry = dict(value) if isinstance(value, Mapping) else {"shape": value}
    unknown = [each for each in entry if each not in _KEYS]
    if unknown:
        raise _wrong(name, f"have {unknown[0]!r} for '{key}'")
    try:
        shape = tuple(map(operator.index, entry["shape"]))
    except (KeyError, TypeError) as error:
        raise _wrong(name, f"have no shape for '{key}'") from error
    dtype = str(entry.get("dtype", "float32")).removeprefix("torch.")
    if dtype not in _VALUES:
        raise _wrong(name, f"have the element type {dtype} for '{key}'")
    if min(shape, default=1) < 1:
        raise _wrong(name, f"have the shape {shape} for '{key}'")
    values = entry.get("values")
    if values is None:
        if dtype == "float32" and len(shape) == 4 and shape[1] == 3:
            return TensorInfo(key, shape, dtype, "NCHW")
        values = _VALUES[dtype]
        if values is None:
            raise _wrong(name, f"do not say which values the whole numbers of '{key}' have")
    try:
        low, high = map(float, values)
    except (TypeError, ValueError) as error:
        raise _wrong(name, f"have the values {values!r} for '{key}'") from error
    if not low <= high:
        raise _wrong(name, f"have the values {values!r} for '{key}'")
    return TensorInfo(key, shape, dtype, values=(low, high))


def _wrong(name: str, what: str) -> UsageError:
    return UsageError(
        f"The inputs of {name} {what}.",
        f"Write them as {_EXAMPLE}, with values as the least and the largest.",
    )


def run(name: str, network: nn.Module, inputs: tuple[TensorInfo, ...], own: bool) -> Seen:
    """Run a network once, in eval mode.

    Args:
        name: for messages.
        network: is left in eval mode.
        inputs: what it is fed, seeded.
        own: whether they are declared, and not the image that is usual.

    Raises:
        UsageError: it does not take them, or returns no tensors.
    """
    import torch

    from mvdeploy.verify.inputs import seeded

    examples = tuple(map(torch.from_numpy, seeded(inputs).values()))
    try:
        with torch.inference_mode():
            result = network.eval()(*examples)
    except Exception as error:
        raise _refused(name, network, inputs, own, error) from error
    found = _named(result)
    if not found:
        raise UsageError(
            f"{name} returns a {type(result).__name__} without tensors.",
            "Return a tensor, or a dict, a tuple or a dataclass of tensors.",
        )
    same = found.keys() & {tensor.name for tensor in inputs}
    if same:
        raise UsageError(
            f"{name} returns '{min(same)}', which is the name of what it takes.",
            "Return it under another name.",
        )
    return Seen(result, tuple(_info(key, tensor) for key, tensor in found.items()))


def _info(name: str, tensor: Tensor) -> TensorInfo:
    return TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _refused(
    name: str, network: nn.Module, inputs: tuple[TensorInfo, ...], own: bool, error: Exception
) -> UsageError:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    needed = [
        p.name
        for p in inspect.signature(network.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) > 1 and not own:
        return UsageError(
            f"{name} takes {len(needed)} inputs: {', '.join(needed)}.",
            f"Give the factory an attribute inputs, as in {_EXAMPLE}.",
        )
    shapes = ", ".join(f"{tuple(tensor.shape)} {tensor.name}" for tensor in inputs)
    if own:
        return UsageError(
            f"{name} does not take its inputs {shapes}: {reason}.",
            "Correct the factory's attribute inputs, or mend the network.",
        )
    return UsageError(
        f"{name} does not take a {shapes}: {reason}.",
        "Give the factory an attribute image_size; or, for other inputs, an attribute inputs, as "
        f"in {_EXAMPLE}.",
    )


def _named(result: Any) -> dict[str, Tensor]:
    """Return the tensors of a result under names that every format can have."""
    found: dict[str, Tensor] = {}
    for place, tensor in tensors.named(result).items():
        name = re.sub(r"\W", "_", place, flags=re.ASCII)
        name = name if name[:1].isalpha() else f"output_{name}"
        while name in found:
            name += "_"
        found[name] = tensor
    return found


def naming(network: nn.Module) -> nn.Module:
    """Return a network that returns its tensors by name; its modules keep their paths."""
    import torch

    if isinstance(network, torch.fx.GraphModule):
        return _wrapped(network)
    plain = type(network)

    @functools.wraps(plain.forward)
    def forward(self: nn.Module, *inputs: Any, **named: Any) -> dict[str, Tensor]:
        return _named(plain.forward(self, *inputs, **named))

    network.__class__ = type(plain.__name__, (plain,), {"forward": forward})
    return network


def _wrapped(network: nn.Module) -> nn.Module:
    """Return the same of a network whose class is written anew when it is copied."""
    from torch import nn

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any) -> dict[str, Tensor]:
            return _named(self.network(*inputs))

    return Named()
