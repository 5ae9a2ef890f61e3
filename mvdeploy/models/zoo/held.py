"""``module:NAME``: a network that a program holds and gave to mvdeploy as it is.

It is copied, and the copy is found again by its name for as long as somebody keeps its `Held`. The
end of the name stands for its weights, its modules and what it computes: networks that differ in
one of them have different names. On the command line there is no such network.

Its module classes may declare ``category``, and the network ``task``, ``num_classes`` and
``mvdeploy_preprocessing``, as factories may; see `mvdeploy.models.zoo.factory`.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import UsageError, reason
from mvdeploy.models.zoo import _own_network, _signature, without_patches
from mvdeploy.records import ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX, USAGE = "module", ""

HELD = True
"""No file says what such a network is made of."""

_DIGITS = 8
"""Of the sha256, in names."""

_EXAMPLE = "Give an example of what it takes, such as example=torch.zeros(1, 3, 256, 256)."


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """A network that is kept.

    Attributes:
        spec: of it; its name is ``model``.
        network: a copy, in eval mode, which nobody changes.
    """

    spec: ModelSpec
    network: nn.Module


_held: weakref.WeakValueDictionary[str, Held] = weakref.WeakValueDictionary()


def hold(network: nn.Module, example: Any, name: str = "") -> Held:
    """Keep a copy of a network for as long as what is returned is kept.

    Args:
        network: stays as it is, in its mode and with its hooks.
        example: a tensor, or as many as its forward takes. Images are float32 of the shape (N, 3,
            H, W); of other tensors, their least and largest value are the range of what it is fed.
        name: what it is called; empty for its class.

    Raises:
        UsageError: it is no network that can be exported, or does not take the example.
    """
    import torch

    from mvdeploy.verify.threads import one_thread

    name = re.sub(r"[^\w.]+", "-", name or type(network).__name__)
    _demand_plain(name, network)
    tensors = _tensors(name, example)
    _own_network.check_numbers(name, network, held=True)
    kept = _own_network.unwrapped(name, _copied(name, network)).eval()
    spec = _spec(name, kept, tensors)
    with one_thread(), torch.random.fork_rng(devices=()):
        _demand_taken(name, kept, tensors)
        spec = _own_network.asked(name, kept, kept, spec, _own_network.declared_task(kept))
        known = _digest(kept, spec)
    spec = dataclasses.replace(spec, model=f"{PREFIX}:{name}-{known}")
    made = Held(spec, kept)
    # The one that is there stays: it may be kept for longer.
    return _held.setdefault(spec.model, made)


def _demand_plain(name: str, network: nn.Module) -> None:
    """Refuse what cannot be traced, and what does something else besides when it is run.

    Raises:
        UsageError: names it.
    """
    import torch

    if not isinstance(network, torch.nn.Module):
        raise UsageError(
            f"What was given is {_own_network.with_article(network)}, and no network.",
            "Give a name, a path of a file, or an nn.Module.",
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError(
            f"{name} is a TorchScript module, which cannot be traced again.",
            "Give the network that was scripted or traced.",
        )
    for path, hook in _hooks(network):
        called = getattr(hook, "__name__", type(hook).__name__)
        raise UsageError(
            f"{name} has a hook of its own ({called}, on '{path or 'the network itself'}'), which "
            "would run while it is exported.",
            "Remove it with the handle that registering it returned.",
        )


def _hooks(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Give the hooks around the forward of modules, but those that compute weights, as torch's."""
    for path, module in network.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if not str(getattr(hook, "__module__", "")).startswith("torch."):
                yield path, hook


def _tensors(name: str, example: Any) -> tuple[Tensor, ...]:
    """Return the tensors of an example.

    Raises:
        UsageError: there is none, or one is none that can be fed.
    """
    import torch

    if example is None:
        raise UsageError(f"Nothing says what {name} takes.", _EXAMPLE)
    tensors = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(tensors, list | tuple) or not tensors:
        raise UsageError(
            f"The example of {name} is {_own_network.with_article(example)}.",
            "Give a tensor, or a tuple of as many as its forward takes.",
        )
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor):
            raise UsageError(
                f"The example of {name} has {_own_network.with_article(tensor)} in it.",
                "Give tensors only, in the order of its forward.",
            )
        if tensor.device.type != "cpu" or not tensor.numel():
            what = "is empty" if not tensor.numel() else f"is on the device '{tensor.device}'"
            raise UsageError(
                f"The example of {name} {what}.", "Give tensors with values, on the processor."
            )
    return tuple(tensors)


def _copied(name: str, network: nn.Module) -> nn.Module:
    import torch

    # What hooks have computed of weights has a gradient, with which it cannot be copied.
    known: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }
    try:
        return copy.deepcopy(network, known)
    except Exception as error:
        raise UsageError(
            f"{name} cannot be copied ({reason(error, named=True)}).",
            "Take out of it what copy.deepcopy does not copy.",
        ) from error


def _spec(name: str, network: nn.Module, tensors: tuple[Tensor, ...]) -> ModelSpec:
    """Return what a network takes, as its example shows; what it returns is not known yet."""
    batch = int(tensors[0].shape[0]) if tensors[0].dim() else 1
    only = tensors[0]
    plain = ModelSpec(f"{PREFIX}:{name}", (), (1, 1), num_classes=0, batch=batch, seed=None)
    if len(tensors) == 1 and _is_image(only):
        return dataclasses.replace(plain, image_size=(int(only.shape[2]), int(only.shape[3])))
    given = {
        key: {
            "shape": tuple(tensor.shape),
            "dtype": str(tensor.dtype),
            **({} if _is_image(tensor) else {"values": _range(tensor)}),
        }
        for key, tensor in zip(_names(network, len(tensors)), tensors, strict=True)
    }
    own = _signature.declared_inputs(name, _Declared(given), network)
    image = next((tensor for tensor in own if tensor.is_image), None)
    size = (int(image.shape[2]), int(image.shape[3])) if image is not None else (1, 1)
    return dataclasses.replace(plain, own_inputs=own, image_size=size)


@dataclasses.dataclass(frozen=True)
class _Declared:
    """What a factory would have declared."""

    inputs: dict[str, Any]


def _is_image(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and tensor.shape[1] == 3 and str(tensor.dtype) == "torch.float32"


def _range(tensor: Tensor) -> tuple[float, float]:
    return float(tensor.min()), float(tensor.max())


def _names(network: nn.Module, count: int) -> list[str]:
    """Return names for so many inputs: those of the forward, as far as it has some."""
    import inspect

    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = inspect.signature(network.forward).parameters.values()
    names = [p.name for p in taken if p.kind in positional]
    return [*names, *(f"input_{n}" for n in range(len(names), count))][:count]


def _demand_taken(name: str, network: nn.Module, tensors: tuple[Tensor, ...]) -> None:
    """Refuse a network that does not take its example.

    Raises:
        UsageError: says why.
    """
    import torch

    try:
        with torch.inference_mode():
            network(*(tensor.detach().clone() for tensor in tensors))
    except Exception as error:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise UsageError(
            f"{name} does not take its example of the shape {shapes} "
            f"({reason(error, named=True)}).",
            "Give an example that it takes, as many tensors as its forward has inputs.",
        ) from error


def _digest(network: nn.Module, spec: ModelSpec) -> str:
    """Return what stands for weights, modules and what is computed of a seeded input."""
    import torch
    from torch.utils._pytree import tree_leaves

    from mvdeploy.models import fingerprint
    from mvdeploy.verify.inputs import seeded

    with torch.inference_mode():
        outputs = network(*map(torch.from_numpy, seeded(spec.inputs).values()))
    made_of = hashlib.sha256(f"{fingerprint(network)} {network!r} {type(network)}".encode())
    for leaf in tree_leaves(outputs):
        value = leaf.contiguous().numpy().tobytes() if isinstance(leaf, torch.Tensor) else leaf
        made_of.update(repr(value).encode())
    return made_of.hexdigest()[:_DIGITS]


def defaults(name: str) -> ModelSpec:
    """Return the spec of a network that is kept."""
    return _get(name).spec


def tasks(name: str) -> tuple[str, ...]:
    """Return what a network does."""
    return (_get(name).spec.task,)


def check(spec: ModelSpec) -> None:
    """Refuse what a network cannot be asked for: it is as it is."""
    without_patches(spec)
    plain = _get(spec.model).spec
    if spec.num_classes != plain.num_classes:
        raise UsageError(
            f"{spec.model} has {plain.num_classes} outputs, not {spec.num_classes}.",
            "Leave out --num-classes, or change the network.",
        )
    if spec.image_size != plain.image_size:
        raise UsageError(
            f"The example of {spec.model} says another image size.",
            "Leave out --image-size, or give an example of that size.",
        )


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed."""
    return _own_network.preprocessing(_get(spec.model).network, spec)


def has_weights(spec: ModelSpec) -> bool:
    """Return true: the network is taken as it is."""
    return True


def build(spec: ModelSpec) -> nn.Module:
    """Copy the network."""
    network = copy.deepcopy(_get(spec.model).network)
    return _signature.naming(network) if spec.task == _own_network.TENSORS else network


def _get(name: str) -> Held:
    found = _held.get(name)
    if found is None:
        raise UsageError(
            f"{name} is a network that a program held, and it is not held here.",
            "Give the network itself to the function of mvdeploy, with an example.",
        )
    return found
