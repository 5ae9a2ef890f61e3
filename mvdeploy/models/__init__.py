"""ModelSpec → nn.Module in eval mode.

A model family is one file (or folder) in ``families/``, importable without torch, with:

``names()``, ``describe(name)``
    what it offers.
``defaults(name)``
    the `ModelSpec` when nothing is asked for.
``check(spec)``
    raises `UsageError` for a spec that cannot be built.
``preprocessing(spec)``
    how images are fed.
``build(spec)``, ``set_patches(network, patches)``
    the network; module classes declare their `Category` as ``category``.
``complete(spec)``
    a spec that was checked, with what follows from what was asked for; a family may lack it.
``tasks(name)``
    names of `mvdeploy.tasks` that a model does; a family without it classifies.
``with_arguments(name, arguments)``
    the defaults of a model that is made with keywords; a family without it takes none, and
    ``tasks(name, arguments)`` is asked where there are some.
``is_sized(spec)``
    whether the weights fit one image size and one setting of patches; a family without it, no.
``checkpoint(spec, path, num_classes, key)``, ``load(network, weights, model)``
    a spec with what a checkpoint says, and its weights; without them, checkpoints are read whose
    names are the network's own.
``FOR_MEASURING``
    true of what nobody deploys, as a yardstick; a family may lack it.
``tokens(spec)``
    how many tokens attend to one another in each stage; a family may lack it.
``layouts()``, ``convert(source, layout, target, channel_order, key)``
    layouts that its checkpoints can be written in, and a `Converted`; a family may lack them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins, tasks
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding, zoo
from mvdeploy.models.sources import code_of as code_of
from mvdeploy.models.sources import is_held as is_held
from mvdeploy.models.sources import moved as moved
from mvdeploy.models.sources import paths as paths
from mvdeploy.records import Arguments, Category, ModelSpec, ModuleInfo, PatchSize, Preprocessing
from mvdeploy.records.spec import CHANNEL_ORDERS, ImageChanges

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.records import WeightsFile

_FAMILIES = "mvdeploy.models.families"
DEFAULT = "mobilevit_s"


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion of a checkpoint did.

    Attributes:
        source: what was read.
        source_layout: of it.
        entry: which of the file's tensors were taken, ``state_dict.model``; empty for all of it.
        path: what was written: a file, or a folder for transformers.
        layout: of the result.
        model: which network's weights they are.
        num_classes: of its classifier.
        tensors: how many there are in the result.
        channel_order: what the network is to be fed; a conversion does not change it.
        plain_order: what networks in this layout are fed when nothing is said.
        known_from: where the channel order of the source is known from, in words.
        notes: what was left aside or changed, in words.
    """

    source: Path
    source_layout: str
    entry: str
    path: Path
    layout: str
    model: str
    num_classes: int
    tensors: int
    channel_order: str
    plain_order: str
    known_from: str
    notes: tuple[str, ...] = ()


def catalogue() -> dict[str, str]:
    """Return every model that can be built, with a line on each; the default's family first."""
    families = _by_name()
    ordered = sorted(families, key=lambda name: families[name] is not families[DEFAULT])
    return {name: families[name].describe(name) for name in ordered}


def for_use() -> tuple[str, ...]:
    """Return the networks of the catalogue without those that only measurements need."""
    families = _by_name()
    return tuple(n for n in catalogue() if not getattr(families[n], "FOR_MEASURING", False))


def make_spec(
    name: str,
    *,
    patches: tuple[PatchSize, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    task: str | None = None,
    seed: int = 0,
    weights: Path | None = None,
    images: ImageChanges | None = None,
    weights_key: str | None = None,
    arguments: Arguments = (),
    calm: bool = False,
) -> ModelSpec:
    """Return a spec that can be built: the model's defaults with what is asked for instead.

    Args:
        name: of the model.
        patches: one for each stage that has them.
        image_size: height and width, pixels.
        num_classes: of the classifier; a checkpoint must have as many.
        task: one of `mvdeploy.tasks` that the model does; None for that of the checkpoint, or the
            first of them.
        seed: of random weights.
        weights: a checkpoint: a file, or a folder as transformers saves it. Its names and shapes
            are checked here, its values when the network is built.
        images: what is changed in its preprocessing.
        weights_key: where in the checkpoint the weights are, if several copies fit:
            ``state_dict_ema``, ``state_dict.model``, or ``.`` for the file itself.
        arguments: keywords for what makes the network, with their values as they are typed.
        calm: random weights that pass noise on as trained ones do.

    Raises:
        UsageError: an unknown model or task, a task that the model does not do, sizes that do not
            fit, a checkpoint that is damaged or of another network, changes that cannot be, or
            keywords that it does not take.

    Example:
        >>> import mvdeploy
        >>> spec = mvdeploy.make_spec("mobilevit_xxs", image_size=(192, 256), num_classes=10)
        >>> spec.slug
        'mobilevit_xxs-p2-2-2-192x256'
    """
    family = _family(name)
    if calm and weights is not None:
        raise _not_random()
    allow(name)
    if task is None and weights is not None and not arguments:
        task = _task_of(family, name, weights, weights_key)
    task = _task(_tasks(family, name, arguments), name, task)
    if weights_key is not None and weights is None:
        raise UsageError(
            "Random weights lie in no file.", "Give a checkpoint with --weights as well."
        )
    asked = {"patches": patches, "image_size": image_size, "num_classes": num_classes}
    given: dict[str, Any] = {field: value for field, value in asked.items() if value is not None}
    if num_classes is not None and num_classes < 1:
        raise UsageError(f"{num_classes} classes cannot be told apart.", "Give 1 or more.")
    plain = _defaults(family, name, task, arguments)
    if weights is not None:
        plain = _checkpoint(family, plain, weights, num_classes, image_size, weights_key)
    own_weights = _has_weights(family, plain)
    if images is not None:
        given["images"] = images
    if calm and own_weights:
        raise _not_random()
    given["calm"] = calm
    spec = dataclasses.replace(plain, task=task, seed=None if own_weights else seed, **given)
    family.check(spec)
    if images is not None:
        preprocessing(spec)  # refuses changes that cannot be
    completed: ModelSpec = family.complete(spec) if hasattr(family, "complete") else spec
    return completed


def _not_random() -> UsageError:
    return UsageError(
        "Weights that are given are as they are.", "Leave out --calm, or the checkpoint."
    )


def allow(name: str) -> None:
    """Let code of a user's own be run that a model's name stands for: a person has given it.

    Code that only a file names, as a manifest may, is not run: whoever makes the file may have
    named anything.
    """
    family = _family(name)
    if hasattr(family, "allow"):
        family.allow(name)


def _with_arguments(family: ModuleType, name: str, arguments: Arguments) -> ModelSpec:
    """Return the defaults of a model that is made with keywords."""
    if not hasattr(family, "with_arguments"):
        listed = ", ".join(argument for argument, _ in arguments)
        raise UsageError(
            f"{name} takes no keywords ({listed}).",
            f"Leave them out, or give {', '.join(zoo.usages())}.",
        )
    spec: ModelSpec = family.with_arguments(name, arguments)
    return spec


def _tasks(family: ModuleType, name: str, arguments: Arguments = ()) -> tuple[str, ...]:
    if not hasattr(family, "tasks"):
        return ("classify",)
    made = (arguments,) if arguments else ()
    does: tuple[str, ...] = family.tasks(name, *made)
    return does


def _task(does: tuple[str, ...], name: str, asked: str | None) -> str:
    """Return what a network is to do."""
    if asked is None:
        return does[0]
    tasks.get(asked)
    if asked not in does:
        raise UsageError(
            f"{name} is no network for the task '{asked}'.", f"It does: {', '.join(does)}."
        )
    return asked


def _task_of(family: ModuleType, name: str, path: Path, key: str | None) -> str | None:
    """Return the first of a model's tasks whose network a checkpoint is of; None for none."""
    does = _tasks(family, name)
    for task in does if len(does) > 1 else ():
        with contextlib.suppress(UsageError):
            _checkpoint(family, _defaults(family, name, task), path, None, None, key)
            return task
    return None


def _defaults(family: ModuleType, name: str, task: str, arguments: Arguments = ()) -> ModelSpec:
    """Return a model's defaults for a task, made with keywords."""
    plain: ModelSpec = (
        _with_arguments(family, name, arguments) if arguments else family.defaults(name)
    )
    does = tasks.get(task)
    classes = getattr(does, "NUM_CLASSES", None)
    if classes is None or task == plain.task:
        return dataclasses.replace(plain, task=task)
    return dataclasses.replace(plain, task=task, image_size=does.IMAGE_SIZE, num_classes=classes)


def _checkpoint(
    family: ModuleType,
    plain: ModelSpec,
    path: Path,
    num_classes: int | None,
    image_size: tuple[int, int] | None,
    key: str | None,
) -> ModelSpec:
    """Return the defaults of a model with those of its checkpoint."""
    if _knows_layouts(family, plain):
        spec: ModelSpec = family.checkpoint(plain, path, num_classes, key)
        return spec
    from mvdeploy.models.checkpoints import own_names

    fixed = _has_weights(family, plain)
    built = functools.cache(functools.partial(_for_names, family))

    def build(spec: ModelSpec) -> nn.Module:
        # What comes with its weights has as many classes as these: it is not built for others.
        return built(dataclasses.replace(spec, num_classes=plain.num_classes) if fixed else spec)

    saved = getattr(family, "saved_names", None)
    return own_names.checkpoint(plain, path, num_classes, image_size, key, build, saved)


def _for_names(family: ModuleType, spec: ModelSpec) -> nn.Module:
    """Build a network for its names and shapes: without memory for its weights where it can be."""
    import torch

    with torch.random.fork_rng(devices=()):
        if not _has_weights(family, spec):
            with contextlib.suppress(Exception), torch.device("meta"):  # some compute with values
                network: nn.Module = family.build(spec)
                return network
        network = family.build(spec)
        return network


def _has_weights(family: ModuleType, spec: ModelSpec) -> bool:
    return hasattr(family, "has_weights") and family.has_weights(spec)


def layouts() -> tuple[str, ...]:
    """Return the layouts that checkpoints can be converted to."""
    return tuple(dict.fromkeys(itertools.chain(*map(_layouts, _families()))))


def _layouts(family: ModuleType) -> tuple[str, ...]:
    names: tuple[str, ...] = family.layouts() if hasattr(family, "layouts") else ()
    return names


def convert(
    source: Path,
    layout: str,
    target: Path,
    channel_order: str | None = None,
    weights_key: str | None = None,
) -> Converted:
    """Write a checkpoint in another library's layout, with the same values.

    Args:
        source: a checkpoint of any known layout.
        layout: of the result: one of `layouts`.
        target: a .pt, .pth or .safetensors file; for transformers also the name of a new folder.
        channel_order: ``RGB`` or ``BGR``, if the checkpoint is not fed as its layout's usually are.
        weights_key: where in the checkpoint the weights are, if several copies fit.

    Raises:
        UsageError: the checkpoint cannot be used, or the target not written.
    """
    if channel_order not in (None, *CHANNEL_ORDERS):
        raise plugins.unknown("channel order", str(channel_order), CHANNEL_ORDERS)
    for family in _families():
        if layout in _layouts(family):
            converted: Converted = family.convert(
                source, layout, target, channel_order, weights_key
            )
            return converted
    raise plugins.unknown("layout", layout, layouts())


def tokens(spec: ModelSpec) -> tuple[int, ...]:
    """Return how many tokens attend to one another in each stage; empty where it is not known."""
    family = _family(spec.model)
    found: tuple[int, ...] = family.tokens(spec) if hasattr(family, "tokens") else ()
    return found


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed to a model.

    Raises:
        UsageError: its folder says it in a way that is not known, or a change to it cannot be.
    """
    family, weights = _family(spec.model), spec.weights
    if weights is None or not weights.channel_order or _knows_layouts(family, spec):
        steps: Preprocessing = family.preprocessing(spec)
    else:
        steps = feeding.steps(feeding.Feed(weights.channel_order, weights.images), spec.image_size)
    return feeding.changed(steps, spec.images)


def build(spec: ModelSpec, *, seeded: bool = True) -> nn.Module:
    """Build a network in eval mode with its weights.

    Without a checkpoint the weights are seeded random ones that carry signal. They depend on the
    model, its classes and the seed, not on patches or image size, so that two patch configurations
    are compared with equal weights; but where a family says that they fit one size.

    Args:
        spec: of the network.
        seeded: without a checkpoint, have such random weights; or else those that modules begin
            with, for what does not depend on them.

    Raises:
        UsageError: the spec cannot be built, or its checkpoint is gone, has changed or holds values
            that are no finite numbers.

    Example:
        >>> import mvdeploy, torch
        >>> network = mvdeploy.build(mvdeploy.make_spec("yardstick"))
        >>> network(torch.zeros(1, 3, 56, 56)).shape
        torch.Size([1, 10])
    """
    import torch

    from mvdeploy.models import random_weights

    family = _family(spec.model)
    family.check(spec)
    fixed = _is_sized(family, spec)
    configurable = hasattr(family, "set_patches") and not fixed
    asked = spec
    if configurable:
        asked = dataclasses.replace(
            family.defaults(spec.model),
            task=spec.task,
            num_classes=spec.num_classes,
            arguments=spec.arguments,
        )
    with torch.random.fork_rng(devices=()):  # modules draw their first weights from it
        network: nn.Module = family.build(asked)
    if spec.weights is not None:
        _load(family, network, spec, spec.weights)
    elif seeded and (configurable or spec.seed is not None):
        size, batches = random_weights.images_for(spec, sized=not configurable, fixed=fixed)
        # Weights that are the same for all image sizes are the same however images are fed, too.
        fed = None if configurable else preprocessing(spec)
        random_weights.initialise(network, spec.seed or 0, size, fed, batches, calm=spec.calm)
    if configurable:
        family.set_patches(network, spec.patches)
    _detach(network)
    return network.eval()


def _load(family: ModuleType, network: nn.Module, spec: ModelSpec, weights: WeightsFile) -> None:
    if _knows_layouts(family, spec):
        family.load(network, weights, spec.model)
        return
    from mvdeploy.models.checkpoints import own_names

    own_names.load(network, weights, spec.model, getattr(family, "saved_names", None))


def _is_sized(family: ModuleType, spec: ModelSpec) -> bool:
    return hasattr(family, "is_sized") and bool(family.is_sized(spec))


def _knows_layouts(family: ModuleType, spec: ModelSpec) -> bool:
    """Say whether a family reads checkpoints itself; of what is made otherwise there are none."""
    return hasattr(family, "checkpoint") and not spec.arguments


def _detach(network: nn.Module) -> None:
    """Cut what hooks have computed of weights from its gradient: only so can it be copied."""
    import torch

    for module in network.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()


def fingerprint(network: nn.Module) -> str:
    """Return the sha256 over names, types, shapes and bytes of all weights and buffers.

    Two networks with equal ones compute the same, as far as their classes do.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue  # a module's own extra state
        dense = tensor.to_dense() if tensor.is_sparse else tensor
        plain = dense.int_repr() if dense.is_quantized else dense
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def module_table(network: nn.Module) -> dict[str, ModuleInfo]:
    """Return every module's class and category by dotted path; the network itself is ``""``.

    A module whose class declares no category has that of its nearest ancestor that does. Where none
    does, as in networks of other libraries, tables of names stand in, and the module is marked so.
    """
    from mvdeploy.models.zoo import categories

    declares = any(_declared(module) is not None for module in network.modules())
    table: dict[str, ModuleInfo] = {}
    around: dict[str, tuple[Category | None, bool, tuple[str, ...]]] = {}
    for path, module in network.named_modules():
        parent = path.rpartition(".")[0]
        outer, within, outer_bases = around[parent] if path else (None, False, ())
        bases = tuple(base.__name__ for base in type(module).__mro__[:-2])
        own = _declared(module)
        if own is not None or within:
            category = outer = own or outer
            within = True
        else:
            category, outer = categories.place(path, bases, outer_bases, outer)
        around[path] = outer, within, bases
        declared = declares and (within or category is None)
        table[path] = ModuleInfo(type(module).__name__, category, declared)
    return table


def with_added(table: dict[str, ModuleInfo], network: nn.Module) -> dict[str, ModuleInfo]:
    """Return the table of a network, with the modules that passes have added to it since.

    They have the category of the nearest module around them that was there before.
    """
    whole = dict(table)
    for path, module in network.named_modules():
        if path not in whole:
            around = whole[path.rpartition(".")[0]]
            whole[path] = dataclasses.replace(around, class_name=type(module).__name__)
    return whole


def _declared(module: nn.Module) -> Category | None:
    category = getattr(module, "category", None)
    return category if isinstance(category, Category) else None


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _families() -> Iterator[ModuleType]:
    for family in plugins.names(_FAMILIES):
        yield plugins.load(_FAMILIES, family, "model family")


def _by_name() -> dict[str, ModuleType]:
    return {name: family for family in _families() for name in family.names()}


def _is_path(name: str) -> UsageError | None:
    """Word what is typed in place of a model, and lies on the disk; None if nothing does."""
    if not name or not os.path.exists(name):  # unlike Path, it takes names of any length
        return None
    if name.endswith(".py"):
        remedy = f"Say which of its functions builds the network: {name}:FUNCTION."
    elif Path(name).is_dir():
        remedy = f"Give hf:{name} if transformers saved it, or a model with --weights {name}."
    else:
        remedy = f"Give the model that its weights are of, with --weights {name}."
    return UsageError(f"{name} is no model.", remedy)


def _family(name: str) -> ModuleType:
    foreign = zoo.find(name)
    if foreign is not None:
        return foreign
    families = _by_name()
    if name not in families:
        raise _is_path(name) or plugins.unknown("model", name, tuple(families))
    return families[name]
