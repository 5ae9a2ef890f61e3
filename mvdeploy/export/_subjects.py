"""What is exported, and what a format is given of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import precisions, tasks
from mvdeploy.export._choices import DYNAMIC, Options, precision
from mvdeploy.records import ModelSpec, ModuleInfo, PassReport, Preprocessing, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor, nn

Alter = Callable[[Any], Any]
"""What a format traced → the same, changed; see `mvdeploy.verify.mutations.program`."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported, and what its manifest says of it.

    Attributes:
        spec: the network.
        network: after all passes, in eval mode.
        modules: classes and categories of the network as it was built, and of those modules that
            the passes added.
        parameters: of the network as it was built.
        passes: what was done to it.
        preprocessing: how it is fed.
        macs: of one inference of the network as it was built; None when an operator of it has no
            counting rule.
        calibration: feeds by a name of each, for precisions that choose their scales by what the
            network is fed.
    """

    spec: ModelSpec
    network: nn.Module
    modules: dict[str, ModuleInfo]
    parameters: int
    passes: tuple[PassReport, ...]
    preprocessing: Preprocessing
    macs: int | None = None
    calibration: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a format is given to write.

    Attributes:
        network: in eval mode; takes the inputs in order and returns the outputs in order.
        examples: a tensor for each input.
        inputs: name, shape and element type of each.
        outputs: the same of the outputs.
        facts: strings to store in the file where the format can hold them.
        preprocessing: how images become the first input; None for what takes none.
        rewrite: the precision's stage: what the format traced → the same, rewritten.
    """

    network: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    facts: dict[str, str]
    preprocessing: Preprocessing | None = None
    rewrite: Callable[[Any], Any] = lambda graph: graph

    @property
    def dynamic(self) -> bool:
        """Whether the first dimension of the inputs is free."""
        return any(DYNAMIC in tensor.shape for tensor in self.inputs)


def subject_of(
    source: Source, format_name: str, options: Options, alter: Alter | None = None
) -> Subject:
    """Return what a format is given to write of a source.

    Args:
        source: the network.
        format_name: of the format.
        options: complete ones.
        alter: changes what the format traced, before the precision does.
    """
    spec = source.spec
    size = DYNAMIC if options.dynamic_batch else spec.batch
    # A batch of one would be taken for a constant.
    batch = max(2, spec.batch) if options.dynamic_batch else spec.batch
    task = tasks.get(spec.task)
    outputs = tuple(output.with_batch(spec.batch, size) for output in task.outputs(spec))
    return Subject(
        network=_in_order(source.network, task, tuple(output.name for output in outputs)),
        examples=tuple(map(_example, spec.with_batch(batch).inputs)),
        inputs=tuple(tensor.with_batch(spec.batch, size) for tensor in spec.inputs),
        outputs=outputs,
        facts={
            "mvdeploy.version": mvdeploy.__version__,
            "mvdeploy.model": spec.label,
            "mvdeploy.weights": _weights(spec),
            "mvdeploy.passes": ", ".join(report.name for report in source.passes),
        },
        preprocessing=source.preprocessing,
        rewrite=_stage(source, format_name, precision(format_name, options), alter),
    )


def _example(tensor: TensorInfo) -> Tensor:
    import torch

    return torch.zeros(*map(int, tensor.shape), dtype=getattr(torch, tensor.dtype))


def _in_order(network: nn.Module, task: tasks.Task, names: tuple[str, ...]) -> nn.Module:
    """Return a network that returns its outputs in the task's order; its modules keep their paths.

    One output needs no order, whatever holds it.
    """
    if len(names) == 1:
        return network
    plain = type(network)

    @functools.wraps(plain.forward)
    def forward(self: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = task.named(plain.forward(self, *inputs))
        return tuple(outputs[name] for name in names)

    ordered = copy.copy(network)
    ordered.__class__ = type(plain.__name__, (plain,), {"forward": forward})
    return ordered


def _stage(
    source: Source, format_name: str, precision_name: str, alter: Alter | None
) -> Callable[[Any], Any]:
    """Return the precision's rewriting of what a format traced."""
    rewrite = precisions.get(precision_name).rewrite

    def stage(graph: Any) -> Any:
        if alter is not None:
            graph = alter(graph)
        if rewrite is not None:
            graph = rewrite(graph, format_name=format_name, calibration=source.calibration)
        return graph

    return stage


def _weights(spec: ModelSpec) -> str:
    if spec.weights is not None:
        return spec.weights.sha256
    return "its own" if spec.seed is None else f"seed {spec.seed}"
