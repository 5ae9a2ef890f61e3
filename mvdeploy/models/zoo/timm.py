"""``timm:NAME``: networks of timm (PyTorch Image Models), without downloading weights."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.models import feeding
from mvdeploy.models.feeding import timm_config
from mvdeploy.models.zoo import load, without_patches
from mvdeploy.records import ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "timm", "timm:NAME"


def defaults(name: str) -> ModelSpec:
    """Return the spec of a network with timm's own input size and class count."""
    config = _config(name)
    _, height, width = config["input_size"]
    return ModelSpec(
        model=name, patches=(), image_size=(height, width), num_classes=config["num_classes"]
    )


def check(spec: ModelSpec) -> None:
    """Refuse what cannot be built."""
    without_patches(spec)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: as timm's own configuration says."""
    return feeding.steps(timm_config.read(_config(spec.model), spec.model), spec.image_size)


def has_weights(spec: ModelSpec) -> bool:
    """Return false: weights would have to be downloaded."""
    return False


def build(spec: ModelSpec) -> nn.Module:
    """Build the network."""
    timm = load("timm")
    size = _config(spec.model)["input_size"][1:]
    sized = {} if tuple(size) == spec.image_size else {"img_size": spec.image_size}
    name = spec.model.partition(":")[2]
    try:
        network: nn.Module = timm.create_model(name, num_classes=spec.num_classes, **sized)
    except TypeError:
        # A convolutional network takes any size and has no such argument.
        network = timm.create_model(name, num_classes=spec.num_classes)
    return network


@functools.cache
def _config(name: str) -> dict[str, Any]:
    timm = load("timm")
    short = name.partition(":")[2]
    if not timm.is_model(short):
        raise plugins.unknown("network in timm", short, tuple(timm.list_models()))
    config: dict[str, Any] = timm.get_pretrained_cfg(short).to_dict()
    return config
