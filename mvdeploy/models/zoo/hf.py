"""``hf:TYPE``: image classifiers of transformers, by model type or local folder.

Nothing is downloaded: a type gives the default configuration, a folder what was saved there.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import load, unloadable, without_patches
from mvdeploy.quiet import quiet
from mvdeploy.records import ModelSpec, Preprocessing
from mvdeploy.tasks import classify

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "hf", "hf:TYPE"


def defaults(name: str) -> ModelSpec:
    """Return the spec of a network with its configuration's input size and class count."""
    config = _config(name)
    size = getattr(config, "image_size", classify.IMAGE_SIZE)
    height, width = (size, size) if isinstance(size, int) else size
    return ModelSpec(
        model=name, patches=(), image_size=(height, width), num_classes=config.num_labels
    )


def check(spec: ModelSpec) -> None:
    """Refuse what cannot be built."""
    without_patches(spec)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return the plain rule, values 0..1; MobileViT is fed BGR with a margin of 32 pixels."""
    height, width = spec.image_size
    if _config(spec.model).model_type == "mobilevit":
        return Preprocessing((height + 32, width + 32), spec.image_size, channel_order="BGR")
    return Preprocessing((height, width), spec.image_size)


def has_weights(spec: ModelSpec) -> bool:
    """Return whether the network comes with its weights: from a folder."""
    return Path(spec.model.partition(":")[2]).is_dir()


def path_in(name: str) -> str:
    """Return what stands after the prefix: a folder, or a model type."""
    return name.partition(":")[2]


def build(spec: ModelSpec) -> nn.Module:
    """Build the network; its forward returns the logits alone."""
    from torch import nn

    short = spec.model.partition(":")[2]
    config = copy.deepcopy(_config(spec.model))
    classifiers = load("transformers.models.auto.modeling_auto")
    classes = classifiers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type)
    if isinstance(classes, tuple | list) and not config.architectures:
        config.architectures = [classes[0]]  # of two, the plain one: DeiT without a teacher
    try:
        with quiet(errors=True):
            automatic = classifiers.AutoModelForImageClassification
            if Path(short).is_dir():
                network = automatic.from_pretrained(short, config=config, local_files_only=True)
            else:
                config.num_labels = spec.num_classes
                network = automatic.from_config(config)
    except ImportError as error:
        raise unloadable("transformers", error) from error

    class Logits(nn.Module):
        """The network without what transformers wraps around its output."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x, return_dict=False)[0]

    return Logits()


@functools.cache
def _config(name: str) -> Any:
    configurations = load("transformers.models.auto.configuration_auto").AutoConfig
    short = name.partition(":")[2]
    try:
        if Path(short).is_dir():
            return configurations.from_pretrained(short, local_files_only=True)
        modeling_auto = load("transformers.models.auto.modeling_auto")
        classifiers = tuple(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
        if short not in classifiers:
            raise plugins.unknown("image classifier in transformers", short, classifiers)
        return configurations.for_model(short)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"transformers cannot read the configuration of {short} ({error}).",
            "Give a folder that save_pretrained wrote, or a model type.",
        ) from error
