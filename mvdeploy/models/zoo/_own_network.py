"""What networks of the user's own have in common: of a Python file, or given by a program."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from mvdeploy import tasks as task_room
from mvdeploy.errors import UsageError
from mvdeploy.models.zoo import _signature
from mvdeploy.records import ModelSpec, Preprocessing, TensorInfo

if TYPE_CHECKING:
    from torch import nn

CLASSIFY, TENSORS = "classify", "tensors"


def declared_task(factory: Any) -> str | None:
    """Return the task that is declared of a network; None where none is."""
    declared = getattr(factory, "task", None)
    # A network may call something else so.
    return declared if isinstance(declared, str) else None


def preprocessing(factory: Any, spec: ModelSpec) -> Preprocessing:
    """Return how images are fed: as it is declared, else with values 0..1."""
    declared = getattr(factory, "mvdeploy_preprocessing", None)
    if isinstance(declared, Preprocessing):
        return declared
    height, width = spec.image_size
    return Preprocessing(resize=(height, width), crop=spec.image_size)


def asked(
    name: str, factory: Any, network: nn.Module, spec: ModelSpec, task: str | None
) -> ModelSpec:
    """Return a spec with what the network does and returns, by running it once.

    Args:
        name: for messages.
        factory: what may declare ``num_classes``.
        network: is left in eval mode.
        spec: what it takes.
        task: that is declared; None to see.

    Raises:
        UsageError: it does not take its inputs, or does not return what its task does.
    """
    seen = _signature.run(name, network, spec.inputs, bool(spec.own_inputs))
    task = task or (CLASSIFY if _classifies(seen.outputs, spec.batch) else TENSORS)
    if task == TENSORS:
        return dataclasses.replace(spec, task=task, own_outputs=seen.outputs)
    return dataclasses.replace(spec, task=task, num_classes=_classes(name, factory, task, seen))


def _classifies(outputs: tuple[TensorInfo, ...], batch: int) -> bool:
    """Whether a network returns one tensor of (batch, classes)."""
    only = outputs[0]
    whole = len(outputs) == 1 and len(only.shape) == 2 and only.shape[0] == batch
    return whole and only.dtype == "float32" and int(only.shape[1]) > 1


def _classes(name: str, factory: Any, task: str, seen: _signature.Seen) -> int:
    try:
        outputs = list(task_room.get(task).named(seen.result).values())
    except UsageError:
        raise
    except Exception as error:
        raise _unfit(name, task) from error
    classes = getattr(factory, "num_classes", None)
    if task != CLASSIFY and isinstance(classes, int):
        return classes
    if len(outputs) != 1 or outputs[0].dim() != 2:
        raise _unfit(name, task)
    return int(outputs[0].shape[1])


def _unfit(name: str, task: str) -> UsageError:
    return UsageError(
        f"{name} does not return what its task, {task}, does.",
        "Wrap the network so that it does, declare num_classes for a task that does not tell, or "
        "leave the attribute task out.",
    )


def unwrapped(name: str, made: Any) -> nn.Module:
    """Return the network within what parallel training and compiling put around it.

    Raises:
        UsageError: it is none, or can only be run, not traced.
    """
    import torch
    from torch import nn

    network = made
    while True:
        if isinstance(network, torch.export.ExportedProgram):
            network = network.module()
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(network, nn.Module) and "_orig_mod" in network._modules:
            network = network._orig_mod  # of torch.compile
        else:
            break
    if isinstance(network, torch.fx.GraphModule):
        # torch 2.13 copies its own deprecated tree specifications with it.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        # Of an exported program these say only that it stays as it was exported.
        vars(network).pop("train", None)
        vars(network).pop("eval", None)
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError(
            f"{name} returned a TorchScript module, which cannot be traced again.",
            "Return the network that was scripted or traced.",
        )
    if not isinstance(network, nn.Module):
        held = "tensors by name" if isinstance(network, dict) else with_article(network)
        raise UsageError(
            f"{name} returned {held}, not an nn.Module.",
            "Return the network itself, with its weights loaded.",
        )
    return network


def with_article(value: Any) -> str:
    """Return what a value is, with its article."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def check_numbers(name: str, network: nn.Module, *, held: bool = False) -> None:
    """Refuse a network that does not compute in float32 on the processor.

    Args:
        name: for messages.
        network: is only looked at.
        held: by a program, which gives it as it is; else a factory returns it.

    Raises:
        UsageError: names the first of its tensors that does not.
    """
    import itertools

    import torch
    from torch.nn.parameter import is_lazy

    give, before = ("Give", "it is given") if held else ("Return", "it is returned")
    tensors = itertools.chain(network.named_parameters(), network.named_buffers())
    for path, tensor in tensors:
        if is_lazy(tensor):
            raise UsageError(
                f"{name} has weights without a shape ('{path}') until it has run.",
                f"Run it once on an example before {before}.",
            )
        if tensor.is_meta:
            raise UsageError(
                f"{name} has no weights: '{path}' is on the device 'meta'.",
                f"Load its weights before {before}.",
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UsageError(
                f"{name} computes in {kind} ('{path}'); what is exported computes in float32.",
                f"{give} network.float(); --precision chooses what a file computes in.",
            )
        if tensor.device.type != "cpu":
            raise UsageError(
                f"{name} is on the device '{tensor.device}' ('{path}').", f"{give} network.cpu()."
            )
