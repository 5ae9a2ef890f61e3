"""What is exported, and what a format is given of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import precisions, tasks
from mvdeploy.formats._choices import DYNAMIC, Options, precision, target
from mvdeploy.records import ModelSpec, ModuleInfo, PassReport, Preprocessing, TensorInfo
from mvdeploy.verify.mutations import Alter

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from mvdeploy.quantization.calibration import Calibration
    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.quantization.quantiser import Quantiser
    from mvdeploy.records.quantized import Quantized


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
        calibration: for precisions that choose their scales by what passes through the network.
        quantized: scales that are known already.
        emulations: what PyTorch runs of files in whole numbers that were just written, by format
            and options, until it is taken.
    """

    spec: ModelSpec
    network: nn.Module
    modules: dict[str, ModuleInfo]
    parameters: int
    passes: tuple[PassReport, ...]
    preprocessing: Preprocessing
    macs: int | None = None
    calibration: Calibration | None = None
    quantized: Quantized | None = None
    emulations: dict[tuple[str, Options], Emulation] = dataclasses.field(default_factory=dict)


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
        alter: changes what the format traced, and what is quantised of it.
        rewrite: the precision's stage: what the format lowers or saves → the same, rewritten.
        quantiser: for formats that have whole numbers: what the format is about to lower or save →
            the same in whole numbers; None where nothing is.
        halves: the format is to have the program computed in half precision, see
            `mvdeploy.formats._halving`.
    """

    network: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    facts: dict[str, str]
    preprocessing: Preprocessing | None = None
    alter: Alter = dataclasses.field(default_factory=Alter)
    rewrite: Callable[[Any], Any] = lambda graph: graph
    quantiser: Quantiser | None = None
    halves: bool = False

    def quantise(self, program: ExportedProgram) -> ExportedProgram:
        """Return a program in whole numbers, where the precision asks for it."""
        if self.quantiser is None:
            return program
        whole: ExportedProgram = self.alter.quantised(self.quantiser(program))
        return whole

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
        alter=alter or Alter(),
        rewrite=_stage(source, format_name, precision(format_name, options)),
        quantiser=_quantiser(source, format_name, options),
        halves=precisions.get(precision(format_name, options)).halves,
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


def _stage(source: Source, format_name: str, precision_name: str) -> Callable[[Any], Any]:
    """Return the precision's rewriting of what a format lowers or saves."""
    rewrite = precisions.get(precision_name).rewrite
    if rewrite is None:
        return lambda graph: graph
    return functools.partial(rewrite, format_name=format_name, calibration=source.calibration)


def _quantiser(source: Source, format_name: str, options: Options) -> Quantiser | None:
    scheme = precisions.get(precision(format_name, options)).scheme
    whole = target(format_name, options)
    if scheme is None or whole is None:
        return None
    from mvdeploy.quantization.quantiser import Quantiser

    kept, given = options.keep_float, source.quantized
    return Quantiser(scheme, whole, kept, source.calibration, given)


def _weights(spec: ModelSpec) -> str:
    if spec.weights is not None:
        return spec.weights.sha256
    return "its own" if spec.seed is None else f"seed {spec.seed}"
