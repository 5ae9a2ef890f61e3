"""``FILE.py:FACTORY``: a network that a Python file of the user's makes or holds.

FACTORY is a function that returns an ``nn.Module``, a class of networks, or a network. Functions
and classes are called without arguments but the keywords that ``--model-arg`` gives. It may carry
attributes:

``image_size``
    a number of pixels, or height and width, of a network that takes images (batch, 3, height,
    width); 224 where nothing is said.
``inputs``
    for a network that takes something else: a dict, in the order of its forward, of shapes, or of
    dicts with ``shape``, ``dtype`` and ``values`` (least and largest). Four dimensions with three
    channels and no values are an image.
``mvdeploy_preprocessing``
    a `mvdeploy.records.Preprocessing`; else images have values 0..1.
``task``
    one of `mvdeploy.tasks`. Where nothing is said, a network that returns one tensor (batch,
    classes) classifies, and the tensors of every other are compared by their numbers.
``num_classes``
    for a task whose outputs do not tell.

Its module classes may declare ``category`` as mvdeploy's own do. Its weights are taken as they are;
an untrained network can be made testable with
``mvdeploy.models.random_weights.initialise(network, seed)``.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import operator
import os
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import tasks as task_room
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _arguments, _signature, _user_file, without_patches
from mvdeploy.records import Arguments, ModelSpec, Preprocessing, TensorInfo

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "*.py", "FILE.py:FACTORY"

_named: set[Path] = set()
"""Files that may be run: those that a person has named."""

_CLASSIFY, _TENSORS = "classify", "tensors"


def allow(name: str) -> None:
    """Let the file of a name be run from now on; for names that a person gave, not a file."""
    _named.add(_place(name)[0])


def defaults(name: str) -> ModelSpec:
    """Return the spec of what a factory makes; runs the user's file."""
    return _spec(name, None)


def with_arguments(name: str, arguments: Arguments) -> ModelSpec:
    """Return the spec of what a factory makes of keywords."""
    return _spec(name, None, arguments)


def complete(spec: ModelSpec) -> ModelSpec:
    """Return a spec with what the network returns at its image size."""
    plain = _spec(spec.model, None, spec.arguments)
    if spec.image_size == plain.image_size:
        return spec
    if plain.own_inputs:
        raise UsageError(
            f"{spec.model} declares what it takes.", "Leave out --image-size, or change its inputs."
        )
    asked = _spec(spec.model, spec.image_size, spec.arguments)
    return dataclasses.replace(spec, own_outputs=asked.own_outputs)


def tasks(name: str, arguments: Arguments = ()) -> tuple[str, ...]:
    """Return what a factory's network does."""
    return (_spec(name, None, arguments).task,)


def check(spec: ModelSpec) -> None:
    """Refuse what a factory cannot be asked for."""
    without_patches(spec)
    plain = _spec(spec.model, None, spec.arguments)
    if spec.num_classes != plain.num_classes:
        raise UsageError(
            f"{spec.model} has {plain.num_classes} outputs, not {spec.num_classes}.",
            "Leave out --num-classes, or change the factory.",
        )


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed."""
    declared = getattr(_factory(spec.model), "mvdeploy_preprocessing", None)
    if isinstance(declared, Preprocessing):
        return declared
    height, width = spec.image_size
    return Preprocessing(resize=(height, width), crop=spec.image_size)


def has_weights(spec: ModelSpec) -> bool:
    """Return true: what the factory returns is taken as it is."""
    return True


def path_in(name: str) -> str:
    """Return the file of a name."""
    return name.rpartition(":")[0]


def build(spec: ModelSpec) -> nn.Module:
    """Call the factory."""
    network = _network(spec.model, spec.arguments)
    return _signature.naming(network) if spec.task == _TENSORS else network


def _place(name: str) -> tuple[Path, str]:
    file, _, attribute = name.rpartition(":")
    return Path(os.path.realpath(file)), attribute  # a link to itself stays one


def _factory(name: str) -> Any:
    path, attribute = _place(name)
    if path not in _named:
        raise UsageError(
            f"{name} is Python code that a manifest names, and such code is run only where the "
            "command names it too.",
            f"If you trust it, give --model {shlex.quote(name)}.",
        )
    module = _user_file.load(path)
    if not hasattr(module, attribute):
        raise UsageError(
            f"{path.name} has nothing called '{attribute}'.",
            f"Give {path.name}:NAME with one that it has.",
        )
    return getattr(module, attribute)


@functools.cache
def _spec(name: str, size: tuple[int, int] | None, arguments: Arguments = ()) -> ModelSpec:
    """Return the spec of a factory's network at an image size; None for its own."""
    factory, network = _factory(name), _network(name, arguments)
    own = _signature.declared_inputs(name, factory, network)
    declared: str | None = getattr(factory, "task", None)
    if not isinstance(declared, str):
        declared = None  # of a network, which may call something else so
    size = size or _image_size(name, declared or _CLASSIFY)
    image = next((tensor for tensor in own if tensor.is_image), None)
    if own:
        size = tuple(map(int, image.shape[2:])) if image is not None else (1, 1)  # type: ignore[assignment]
    batch = int(own[0].shape[0]) if own and own[0].shape else 1
    spec = ModelSpec(
        model=name,
        patches=(),
        image_size=size,
        batch=batch,
        num_classes=0,
        own_inputs=own,
        arguments=arguments,
    )
    seen = _signature.run(name, network, spec.inputs, bool(own))
    task = declared or (_CLASSIFY if _classifies(seen.outputs, batch) else _TENSORS)
    if task == _TENSORS:
        return dataclasses.replace(spec, task=task, own_outputs=seen.outputs)
    return dataclasses.replace(spec, task=task, num_classes=_classes(name, task, seen))


def _classifies(outputs: tuple[TensorInfo, ...], batch: int) -> bool:
    """Whether a network returns one tensor of (batch, classes)."""
    only = outputs[0]
    whole = len(outputs) == 1 and len(only.shape) == 2 and only.shape[0] == batch
    return whole and only.dtype == "float32" and int(only.shape[1]) > 1


def _classes(name: str, task: str, seen: _signature.Seen) -> int:
    try:
        outputs = list(task_room.get(task).named(seen.result).values())
    except UsageError:
        raise
    except Exception as error:
        raise _unfit(name, task) from error
    classes = getattr(_factory(name), "num_classes", None)
    if task != _CLASSIFY and isinstance(classes, int):
        return classes
    if len(outputs) != 1 or outputs[0].dim() != 2:
        raise _unfit(name, task)
    return int(outputs[0].shape[1])


def _unfit(name: str, task: str) -> UsageError:
    return UsageError(
        f"{name} does not return what its task, {task}, does.",
        "Wrap the network so that it does, declare num_classes for a task that does not tell, or "
        "leave the attribute task out.",
    )


def _image_size(name: str, task: str) -> tuple[int, int]:
    """Return height and width as the factory declares them, or the usual ones of its task."""
    factory = _factory(name)
    declared = getattr(factory, "image_size", task_room.get(task).IMAGE_SIZE)
    sides = declared if isinstance(declared, tuple | list) else (declared, declared)
    try:
        height, width = map(operator.index, sides)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UsageError(
            f"The image_size of {name} is {declared!r}.",
            "Make it a number of pixels, or a pair of them: height and width.",
        )
    return height, width


def _network(name: str, arguments: Arguments) -> nn.Module:
    """Return what a factory makes, as a network that can be traced."""
    import torch
    from torch import nn

    factory = _factory(name)
    if isinstance(factory, nn.Module | torch.export.ExportedProgram):
        made = factory
        _arguments.check(name, arguments, set(), {})
    elif callable(factory):
        _check_arguments(name, factory, arguments)
        given = functools.partial(factory, **_arguments.values(arguments))
        made = _user_file.run(_place(name)[0], name, given)
    else:
        raise UsageError(
            f"{name} is {_a(factory)}, not a function, a class or a network.",
            "Name a function that returns the network.",
        )
    network = _unwrapped(name, made)
    _check_numbers(name, network)
    # An instance is one for all: what is built of it is changed.
    return copy.deepcopy(network) if made is factory else network


def _check_arguments(name: str, factory: Any, arguments: Arguments) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # of a callable without a signature
        return
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {p.name: p for p in parameters if p.kind not in any_number}
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        by_keyword = {n for n, p in named.items() if p.kind is not p.POSITIONAL_ONLY}
        _arguments.check(name, arguments, by_keyword, {})
    given = dict(arguments)
    needed = [n for n, p in named.items() if p.default is p.empty and n not in given]
    if needed:
        raise UsageError(
            f"{name} cannot be called without arguments: it needs {', '.join(needed)}.",
            f"Give them (--model-arg {needed[0]}=VALUE), or write a function without arguments "
            "that calls it, and name that.",
        )


def _unwrapped(name: str, made: Any) -> nn.Module:
    """Return the network within what parallel training and compiling put around it.

    Raises:
        UsageError: it is none, or can only be run, not traced.
    """
    import torch
    from torch import nn

    network = made
    while True:
        if isinstance(network, torch.export.ExportedProgram):
            network = network.module()
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(network, nn.Module) and "_orig_mod" in network._modules:
            network = network._orig_mod  # of torch.compile
        else:
            break
    if isinstance(network, torch.fx.GraphModule):
        # torch 2.13 copies its own deprecated tree specifications with it.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        # Of an exported program these say only that it stays as it was exported.
        vars(network).pop("train", None)
        vars(network).pop("eval", None)
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError(
            f"{name} returned a TorchScript module, which cannot be traced again.",
            "Return the network that was scripted or traced.",
        )
    if not isinstance(network, nn.Module):
        held = "tensors by name" if isinstance(network, dict) else _a(network)
        raise UsageError(
            f"{name} returned {held}, not an nn.Module.",
            "Return the network itself, with its weights loaded.",
        )
    return network


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _check_numbers(name: str, network: nn.Module) -> None:
    """Refuse a network that does not compute in float32 on the processor.

    Raises:
        UsageError: names the first of its tensors that does not.
    """
    import itertools

    import torch
    from torch.nn.parameter import is_lazy

    tensors = itertools.chain(network.named_parameters(), network.named_buffers())
    for path, tensor in tensors:
        if is_lazy(tensor):
            raise UsageError(
                f"{name} has weights without a shape ('{path}') until it has run.",
                "Run it once on an example before it is returned.",
            )
        if tensor.is_meta:
            raise UsageError(
                f"{name} has no weights: '{path}' is on the device 'meta'.",
                "Load its weights before it is returned.",
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UsageError(
                f"{name} computes in {kind} ('{path}'); what is exported computes in float32.",
                "Return network.float(); --precision chooses what a file computes in.",
            )
        if tensor.device.type != "cpu":
            raise UsageError(
                f"{name} is on the device '{tensor.device}' ('{path}').", "Return network.cpu()."
            )
