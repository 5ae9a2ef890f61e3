"""``hf:TYPE``: image classifiers of transformers, by model type or local folder.

Nothing is downloaded: a type gives the default configuration, a folder what was saved there.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import missing, without_patches
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


def build(spec: ModelSpec) -> nn.Module:
    """Build the network; its forward returns the logits alone."""
    from torch import nn

    transformers = _transformers()
    folder = Path(spec.model.partition(":")[2])
    if folder.is_dir():
        network = transformers.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True
        )
    else:
        config = _config(spec.model)
        config.num_labels = spec.num_classes
        network = transformers.AutoModelForImageClassification.from_config(config)

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
    transformers = _transformers()
    short = name.partition(":")[2]
    try:
        if Path(short).is_dir():
            return transformers.AutoConfig.from_pretrained(short, local_files_only=True)
        from transformers.models.auto import modeling_auto

        classifiers = tuple(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
        if short not in classifiers:
            raise plugins.unknown("image classifier in transformers", short, classifiers)
        return transformers.AutoConfig.for_model(short)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"transformers cannot read the configuration of {short} ({error}).",
            "Give a folder that save_pretrained wrote, or a model type.",
        ) from error


def _transformers() -> Any:
    try:
        import transformers
    except (ImportError, RuntimeError) as error:
        raise missing("transformers", ImportError(str(error))) from error
    return transformers
