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
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import TYPE_CHECKING

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import Category, ModelSpec, ModuleInfo, PatchSize, Preprocessing

if TYPE_CHECKING:
    from torch import nn

_FAMILIES = "mvdeploy.models.families"
DEFAULT = "mobilevit_s"
TASKS = ("classify",)


def catalogue() -> dict[str, str]:
    """Return every model that can be built, with a line on each."""
    return {name: family.describe(name) for name, family in _by_name().items()}


def make_spec(
    name: str,
    *,
    patches: tuple[PatchSize, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    task: str = "classify",
    seed: int = 0,
) -> ModelSpec:
    """Return a spec that can be built: the model's defaults with what is asked for instead.

    Raises:
        UsageError: an unknown model or task, or sizes that do not fit.
    """
    family = _family(name)
    if task not in TASKS:
        raise plugins.unknown("task", task, TASKS)
    asked = {"patches": patches, "image_size": image_size, "num_classes": num_classes}
    given = {field: value for field, value in asked.items() if value is not None}
    if num_classes is not None and num_classes < 1:
        raise UsageError(f"{num_classes} classes cannot be told apart.", "Give 1 or more.")
    plain: ModelSpec = family.defaults(name)
    spec = dataclasses.replace(plain, task=task, seed=seed, **given)  # type: ignore[arg-type]
    family.check(spec)
    return spec


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """Return how images are fed to a model."""
    found: Preprocessing = _family(spec.model).preprocessing(spec)
    return found


def build(spec: ModelSpec) -> nn.Module:
    """Build a network in eval mode with its weights.

    Without a checkpoint the weights are seeded random ones that carry signal. They depend on the
    model, its classes and the seed, not on patches or image size, so that two patch configurations
    are compared with equal weights.
    """
    from mvdeploy.models import alive

    family = _family(spec.model)
    family.check(spec)
    plain = dataclasses.replace(family.defaults(spec.model), num_classes=spec.num_classes)
    network: nn.Module = family.build(plain)
    alive.initialise(network, spec.seed)
    family.set_patches(network, spec.patches)
    return network.eval()


def module_table(network: nn.Module) -> dict[str, ModuleInfo]:
    """Return every module's class and category by dotted path; the network itself is ``""``.

    A module whose class declares no category has that of its nearest ancestor that does.
    """
    table: dict[str, ModuleInfo] = {}
    for path, module in network.named_modules():
        declared = getattr(type(module), "category", None)
        if not isinstance(declared, Category):
            parent = path.rpartition(".")[0]
            declared = table[parent].category if path else None
        table[path] = ModuleInfo(type(module).__name__, declared)
    return table


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _by_name() -> dict[str, ModuleType]:
    families = (
        plugins.load(_FAMILIES, family, "model family") for family in plugins.names(_FAMILIES)
    )
    return {name: family for family in families for name in family.names()}


def _family(name: str) -> ModuleType:
    known = _by_name()
    if name not in known:
        raise plugins.unknown("model", name, tuple(known))
    return known[name]
