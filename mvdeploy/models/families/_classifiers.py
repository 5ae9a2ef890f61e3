"""A family of image classifiers whose sizes are fixed: what `mvdeploy.models` asks of it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.models.feeding import Feed
from mvdeploy.models.zoo import without_patches
from mvdeploy.records import ModelSpec, Preprocessing
from mvdeploy.records.spec import ImageRule

if TYPE_CHECKING:
    from torch import nn

IMAGENET = ImageRule(
    crop_share=0.875,
    margin=0,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""How networks are fed that were trained on ImageNet and say nothing else."""

BILINEAR = dataclasses.replace(IMAGENET, interpolation="bilinear")
"""The same with what convolutional networks are mostly trained with."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One network of a family.

    Attributes:
        title: as its paper calls it.
        sizes: what its class is built with, besides ``num_classes``.
    """

    title: str
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Classifiers:
    """Image classifiers of fixed sizes.

    A family's module has their functions as its own::

        names, describe, defaults, check, preprocessing, build = Classifiers(…)

    Attributes:
        network: module and class of the network, ``mvdeploy.models.families.vit.network:ViT``; it
            is imported when a network is built, and takes ``num_classes``, what the variant says,
            and ``image_size``, if `sized`.
        variants: by the name that is typed.
        about: what they are, for listings: ``(Touvron et al., 2021)``.
        image_size: height and width, pixels, that they are for.
        num_classes: of the classifier, if nothing is asked for.
        images: how images are fed.
        stride: height and width of images must be multiples of it.
        sized: the network's weights depend on the image size.
    """

    network: str
    variants: Mapping[str, Variant]
    about: str = ""
    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    images: ImageRule = IMAGENET
    stride: int = 1
    sized: bool = False

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        """Give what a family's module has."""
        return iter(
            (self.names, self.describe, self.defaults, self.check, self.preprocessing, self.build)
        )

    def names(self) -> tuple[str, ...]:
        """Return the models of this family."""
        return tuple(self.variants)

    def describe(self, name: str) -> str:
        """Return one line on a model for listings."""
        return f"{self.variants[name].title} {self.about}".strip()

    def defaults(self, name: str) -> ModelSpec:
        """Return the spec of a model as its paper has it."""
        return ModelSpec(
            model=name, patches=(), image_size=self.image_size, num_classes=self.num_classes
        )

    def check(self, spec: ModelSpec) -> None:
        """Refuse a spec that cannot be built.

        Raises:
            UsageError: it asks for patches, or for images that the network does not divide.
        """
        without_patches(spec)
        height, width = spec.image_size
        if height % self.stride or width % self.stride:
            raise UsageError(
                f"{spec.model} takes images whose sides are multiples of {self.stride}, not "
                f"{height}x{width}.",
                f"Give --image-size {max(1, round(height / self.stride)) * self.stride}.",
            )

    def preprocessing(self, spec: ModelSpec) -> Preprocessing:
        """Return how images are fed."""
        return feeding.steps(Feed("RGB", self.images), spec.image_size)

    def build(self, spec: ModelSpec) -> nn.Module:
        """Build the network: (batch, 3, height, width) → (batch, classes)."""
        module, _, name = self.network.partition(":")
        kind = getattr(importlib.import_module(module), name)
        sizes = dict(self.variants[spec.model].sizes)
        if self.sized:
            sizes["image_size"] = spec.image_size
        network: nn.Module = kind(num_classes=spec.num_classes, **sizes)
        return network
