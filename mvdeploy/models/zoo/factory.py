"""``FILE.py:FACTORY``: a network that a function of the user's makes.

The function takes no argument and returns an ``nn.Module`` that maps (batch, 3, height, width) to
what its task returns: (batch, classes). It may carry attributes: ``image_size`` (height, width),
``mvdeploy_preprocessing`` (`mvdeploy.records.Preprocessing`), ``task`` (one of `mvdeploy.tasks`)
and ``num_classes``, where the outputs do not tell; else it classifies, and the input is the task's
usual one (224 x 224), values 0..1. Its module classes may declare ``category`` as mvdeploy's own
do. Its weights are taken as they are; an untrained network can be made testable with
``mvdeploy.models.random_weights.initialise(network, seed)``.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import tasks as task_room
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _torchvision, without_patches
from mvdeploy.records import ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "*.py", "FILE.py:FACTORY"


def defaults(name: str) -> ModelSpec:
    """Return the spec of what a factory makes; runs the user's file."""
    task = tasks(name)[0]
    size = tuple(getattr(_factory(name), "image_size", task_room.get(task).IMAGE_SIZE))
    return ModelSpec(
        model=name,
        patches=(),
        image_size=(size[0], size[1]),
        task=task,
        num_classes=_classes(name, size),
    )


def tasks(name: str) -> tuple[str, ...]:
    """Return what a factory's network does."""
    return (getattr(_factory(name), "task", "classify"),)


def check(spec: ModelSpec) -> None:
    """Refuse what a factory cannot be asked for."""
    without_patches(spec)
    plain = defaults(spec.model)
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
    return _network(spec.model)


@functools.cache
def _factory(name: str) -> Callable[[], Any]:
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"There is no file {file}.", "Give FILE.py:FACTORY with a path that is.")
    spec = importlib.util.spec_from_file_location(f"mvdeploy_factory_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} cannot be read as Python.", "Give a .py file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up here
    _torchvision.provide()
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"{file} failed: {type(error).__name__}: {error}.", "Mend it; --debug shows where."
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(f"{file} has no function '{attribute}'.", "Give one that it has.")
    builder: Callable[[], Any] = factory
    return builder


def _network(name: str) -> nn.Module:
    from torch import nn

    try:
        network = _factory(name)()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{name} failed: {type(error).__name__}: {error}.", "Mend it; --debug shows where."
        ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{name} returned a {type(network).__name__}, not an nn.Module.",
            "Return the network itself.",
        )
    return network


@functools.cache
def _classes(name: str, size: tuple[int, ...]) -> int:
    import torch

    network = _network(name).eval()
    try:
        with torch.inference_mode():
            result = network(torch.zeros(1, 3, *size))
    except Exception as error:
        raise UsageError(
            f"{name} does not take a (1, 3, {size[0]}, {size[1]}) image: {error}.",
            "Give the factory an attribute image_size, or mend the network.",
        ) from error
    try:
        outputs = list(task_room.get(tasks(name)[0]).named(result).values())
    except Exception as error:
        raise _unfit(name) from error
    classes: int | None = getattr(_factory(name), "num_classes", None)
    if classes is not None:
        return classes
    if len(outputs) != 1 or not isinstance(outputs[0], torch.Tensor) or outputs[0].dim() != 2:
        raise _unfit(name)
    return int(outputs[0].shape[1])


def _unfit(name: str) -> UsageError:
    return UsageError(
        f"{name} does not return one tensor of (batch, classes), or what else its task does.",
        "Wrap the network so that it does; for another task give the factory the attributes task "
        "and num_classes.",
    )
