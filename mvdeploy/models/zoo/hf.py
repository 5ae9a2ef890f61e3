"""``hf:TYPE``: image classifiers of transformers, by model type or local folder.

Nothing is downloaded: a type gives the default configuration, a folder what was saved there.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.errors import MvdeployError, UsageError, reason
from mvdeploy.files import reading
from mvdeploy.models import checkpoints, feeding
from mvdeploy.models.feeding import Feed, folder, image_processors
from mvdeploy.models.zoo import _arguments, load, unloadable, without_patches
from mvdeploy.quiet import quiet
from mvdeploy.records import Arguments, ModelSpec, Preprocessing
from mvdeploy.records.spec import ImageRule
from mvdeploy.tasks import classify

if TYPE_CHECKING:
    from torch import nn

PREFIX, USAGE = "hf", "hf:TYPE"

_RESERVED = {
    "image_size": "--image-size",
    **dict.fromkeys(("num_labels", "id2label", "label2id"), "--num-classes"),
}
"""Values of a configuration that have an option of their own."""


def defaults(name: str) -> ModelSpec:
    """Return the spec of a network with its own input size and class count."""
    config = _config(name)
    return ModelSpec(
        model=name, patches=(), image_size=_image_size(name), num_classes=config.num_labels
    )


def with_arguments(name: str, arguments: Arguments) -> ModelSpec:
    """Return the spec of a network of a type whose configuration has other values."""
    short = name.partition(":")[2]
    if Path(short).is_dir():
        raise UsageError(
            f"The configuration of {short} fits its weights.", "Leave out --model-arg."
        )
    _arguments.check(name, arguments, _config(name).to_dict().keys(), _RESERVED)
    spec = dataclasses.replace(defaults(name), arguments=arguments)
    _configured(spec)
    return spec


def check(spec: ModelSpec) -> None:
    """Refuse what cannot be built."""
    without_patches(spec)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: as the folder's image processor says, or as is usual of the type.

    A type that is not known is fed values 0..1.
    """
    usual = image_processors.usual(_config(spec.model).model_type, _image_size(spec.model))
    feed = _feed(spec.model) or usual or Feed("RGB", ImageRule(margin=0))
    return feeding.steps(feed, spec.image_size)


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
    config = _configured(spec)
    classifiers = load("transformers.models.auto.modeling_auto")
    classes = classifiers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type)
    if isinstance(classes, tuple | list) and not config.architectures:
        config.architectures = [classes[0]]  # of two, the plain one: DeiT without a teacher
    with _explained(f"build {short}"), quiet(errors=True):
        automatic = classifiers.AutoModelForImageClassification
        if Path(short).is_dir():
            network = automatic.from_pretrained(
                short, config=config, local_files_only=True, trust_remote_code=False
            )
            checkpoints.demand_ordinary(short, network.state_dict())
        else:
            network = automatic.from_config(config)

    class Logits(nn.Module):
        """The network without what transformers wraps around its output."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x, return_dict=False)[0]

    return Logits()


def _configured(spec: ModelSpec) -> Any:
    """Return a configuration of one's own with what is asked for."""
    config = copy.deepcopy(_config(spec.model))
    short = spec.model.partition(":")[2]
    if Path(short).is_dir():
        return config
    with _explained(f"configure {spec.label}"):
        own = _arguments.values(spec.arguments)
        if own:
            config = load("transformers.models.auto.configuration_auto").AutoConfig.for_model(
                short, **own
            )
        config.num_labels = spec.num_classes
        if spec.image_size != _image_size(spec.model) and hasattr(config, "image_size"):
            height, width = spec.image_size
            config.image_size = height if height == width else [height, width]
    return config


def _image_size(name: str) -> tuple[int, int]:
    """Return height and width that a network is fed: its image processor's, or its own."""
    feed = _feed(name)
    if feed is not None and feed.image_size is not None:
        return feed.image_size
    size = getattr(_config(name), "image_size", classify.IMAGE_SIZE)
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@functools.cache
def _feed(name: str) -> Feed | None:
    """Return what a folder says of its images; None where it says nothing."""
    found = folder.read(Path(name.partition(":")[2]))
    return found[0] if found is not None else None


def saved_names(network: nn.Module) -> dict[str, str]:
    """Return the names that ``save_pretrained`` gives to tensors, where these have others.

    transformers 5 keeps the names of published checkpoints in files, and has new ones in memory.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # transformers 4 has the same names in both
        return {}
    path, model = next(
        (path, module)
        for path, module in network.named_modules()
        if hasattr(module, "save_pretrained")
    )
    held = model.state_dict()
    names = {id(tensor): name for name, tensor in held.items()}
    return {
        f"{path}.{names[id(tensor)]}": saved
        for saved, tensor in revert_weight_conversion(model, held).items()
        if id(tensor) in names
    }


def _demand_sound(folder: Path) -> None:
    """Refuse a folder whose files would not be read by mvdeploy itself.

    Raises:
        UsageError: one is a pipe or too large, or its weights are damaged or hold objects.
    """
    for file in folder.iterdir():
        if not file.is_dir():
            limit = reading.TEXT if file.suffix == ".json" else reading.WEIGHTS
            reading.demand_regular(file, limit)
    checkpoints.demand_sound(checkpoints.locate(folder))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Word what transformers runs into while it does something: anything, in files of others."""
    try:
        yield
    except ImportError as error:
        raise unloadable("transformers", error) from error
    except (MvdeployError, MemoryError):
        raise
    except Exception as error:
        raise UsageError(
            f"transformers cannot {what} ({reason(error)}).",
            "Give a folder that save_pretrained wrote, or a model type.",
        ) from error


@functools.cache
def _config(name: str) -> Any:
    configurations = load("transformers.models.auto.configuration_auto").AutoConfig
    short = name.partition(":")[2]
    with _explained(f"read the configuration of {short}"):
        if Path(short).is_dir():
            _demand_sound(Path(short))
            return configurations.from_pretrained(
                short, local_files_only=True, trust_remote_code=False
            )
        modeling_auto = load("transformers.models.auto.modeling_auto")
        classifiers = tuple(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
        if short not in classifiers:
            raise plugins.unknown("image classifier in transformers", short, classifiers)
        return configurations.for_model(short)
