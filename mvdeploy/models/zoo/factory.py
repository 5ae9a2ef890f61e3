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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import tasks as task_room
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _arguments, _own_network, _signature, _user_file, without_patches
from mvdeploy.records import Arguments, ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "*.py", "FILE.py:FACTORY"

_named: set[Path] = set()
"""Files that may be run: those that a person has named."""


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
    return _own_network.preprocessing(_factory(spec.model), spec)


def has_weights(spec: ModelSpec) -> bool:
    """Return true: what the factory returns is taken as it is."""
    return True


def path_in(name: str) -> str:
    """Return the file of a name."""
    return name.rpartition(":")[0]


def build(spec: ModelSpec) -> nn.Module:
    """Call the factory."""
    network = _network(spec.model, spec.arguments)
    return _signature.naming(network) if spec.task == _own_network.TENSORS else network


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
    declared = _own_network.declared_task(factory)
    size = size or _image_size(name, declared or _own_network.CLASSIFY)
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
    return _own_network.asked(name, factory, network, spec, declared)


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
        what = _own_network.with_article(factory)
        raise UsageError(
            f"{name} is {what}, not a function, a class or a network.",
            "Name a function that returns the network.",
        )
    network = _own_network.unwrapped(name, made)
    _own_network.check_numbers(name, network)
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
