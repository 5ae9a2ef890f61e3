"""A fixed small network that runs beside others as a yardstick of the machine (``--anchor``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn


def names() -> tuple[str, ...]:
    """Return the models of this family."""
    return ("yardstick",)


def defaults(name: str) -> ModelSpec:
    """Return the spec of a model."""
    return ModelSpec(model=name, patches=(), image_size=(56, 56), num_classes=10)


def describe(name: str) -> str:
    """Return one line on a model for listings."""
    return "a convolution of fixed size: a yardstick for a machine's speed"


def check(spec: ModelSpec) -> None:
    """Refuse a spec that cannot be built.

    Raises:
        UsageError: it asks for patches.
    """
    if spec.patches:
        raise UsageError(f"{spec.model} has no patches.", "Leave out --patches.")


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: resized, values 0..1."""
    return Preprocessing(
        resize=spec.image_size,
        crop=spec.image_size,
        channel_order="RGB",
    )


def build(spec: ModelSpec) -> nn.Module:
    """Build the network; the input is (batch, 3, height, width), the output (batch, classes)."""
    from mvdeploy.models.families.yardstick.network import Yardstick

    return Yardstick(spec.num_classes)
