"""``timm:NAME``: networks of timm (PyTorch Image Models), without downloading weights."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.errors import UsageError, reason
from mvdeploy.models import feeding
from mvdeploy.models.feeding import timm_config
from mvdeploy.models.zoo import _arguments, _efficientnet_names, load, without_patches
from mvdeploy.records import Arguments, ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "timm", "timm:NAME"

_RESERVED = {"num_classes": "--num-classes", "img_size": "--image-size"}
"""Keywords that have an option of their own."""


def defaults(name: str) -> ModelSpec:
    """Return the spec of a network with timm's own input size and class count."""
    config = _config(name)
    _, height, width = config["input_size"]
    return ModelSpec(
        model=name, patches=(), image_size=(height, width), num_classes=config["num_classes"]
    )


def with_arguments(name: str, arguments: Arguments) -> ModelSpec:
    """Return the spec of a network that is made with keywords of its class."""
    spec = dataclasses.replace(defaults(name), arguments=arguments)
    known = inspect.signature(type(_create(defaults(name))).__init__).parameters
    taken = known.keys() - {"self", "kwargs"}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        taken |= {keyword for keyword, _ in arguments}  # timm itself refuses them
    _arguments.check(name, arguments, taken, _RESERVED)
    _create(spec)
    return spec


def check(spec: ModelSpec) -> None:
    """Refuse what cannot be built."""
    without_patches(spec)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: as timm's own configuration says."""
    return feeding.steps(timm_config.read(_config(spec.model), spec.model), spec.image_size)


def has_weights(spec: ModelSpec) -> bool:
    """Return false: weights would have to be downloaded."""
    return False


def saved_names(network: nn.Module) -> dict[str, str]:
    """Return the names under which others save the same network, as far as that is usual."""
    return _efficientnet_names.of(network)


def build(spec: ModelSpec) -> nn.Module:
    """Build the network."""
    return _create(spec)


def _create(spec: ModelSpec) -> nn.Module:
    timm = load("timm")
    size = _config(spec.model)["input_size"][1:]
    sized = {} if tuple(size) == spec.image_size else {"img_size": spec.image_size}
    name = spec.model.partition(":")[2]
    given = {
        keyword: tuple(value) if isinstance(value, list) else value
        for keyword, value in _arguments.values(spec.arguments).items()
    }
    try:
        with contextlib.suppress(TypeError):
            network: nn.Module = timm.create_model(
                name, num_classes=spec.num_classes, **sized, **given
            )
            return network
        # A convolutional network takes any size and has no such argument.
        network = timm.create_model(name, num_classes=spec.num_classes, **given)
    except Exception as error:
        if not given:
            raise
        raise UsageError(
            f"timm cannot build {spec.label} ({reason(error)}).", "Give other values."
        ) from error
    return network


@functools.cache
def _config(name: str) -> dict[str, Any]:
    timm = load("timm")
    short = name.partition(":")[2]
    if not timm.is_model(short):
        raise plugins.unknown("network in timm", short, tuple(timm.list_models()))
    config: dict[str, Any] = timm.get_pretrained_cfg(short).to_dict()
    return config
