"""ExecuTorch programs of others: what they take and give, and what they call.

What is inside a delegate is its backend's own; the file does not tell of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.formats._reading import FileFacts
from mvdeploy.quiet import quiet
from mvdeploy.records import Delegation, Operator, TensorInfo, Undelegated
from mvdeploy.records.artifact import UNPLACED

_METHOD = "forward"
_HERE = ("XnnpackBackend",)
"""Backends of the ExecuTorch that pip installs."""

_ELSEWHERE = {
    "CoreMLBackend": "an Apple device",
    "MPSBackend": "an Apple device",
    "VulkanBackend": "a device with a Vulkan driver and ExecuTorch's Vulkan backend",
    "QnnBackend": "a device with a Qualcomm NPU",
}
_TYPES = {
    "BYTE": "uint8",
    "CHAR": "int8",
    "SHORT": "int16",
    "INT": "int32",
    "LONG": "int64",
    "HALF": "float16",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BOOL": "bool",
}


def read(path: Path) -> FileFacts:
    """Read a ``.pte`` file.

    Raises:
        UsageError: it is none, is damaged, has no method ``forward``, or takes or gives what is no
            tensor.
    """
    plan = _plan(path)
    values = [plan.values[i].val for i in plan.inputs]
    results = [plan.values[i].val for i in plan.outputs]
    operators = tuple(_operators(plan))
    kernels = Counter(op.type for op in operators)
    backends = dict.fromkeys(delegate.id for delegate in plan.delegates)
    foreign = [name for name in backends if name not in _HERE]
    return FileFacts(
        inputs=tuple(
            _tensor(value, f"input_{i}", f"input number {i + 1}", path)
            for i, value in enumerate(values)
        ),
        outputs=tuple(
            _tensor(value, f"output_{i}", f"output number {i + 1}", path)
            for i, value in enumerate(results)
        ),
        operators=operators,
        versions={"backends": ", ".join(backends) or "none"}
        | ({"inputs": "of any size up to these"} if any(map(_bounded, values)) else {}),
        runs_on=" and ".join(_ELSEWHERE.get(n, f"ExecuTorch's backend {n}") for n in foreign),
        delegation=Delegation(
            delegates=len(plan.delegates),
            delegated=0,
            undelegated=tuple(Undelegated(kind, UNPLACED, n) for kind, n in kernels.items()),
        ),
    )


def parsed(path: Path) -> Any:
    """Return a program as ExecuTorch's own reader gives it.

    Raises:
        UsageError: it is none, or is damaged.
    """
    try:
        data = reading.contents(path, limit=reading.WEIGHTS, what="a program")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    if data[4:6] != b"ET":
        raise UsageError(
            f"{path} is {'no ExecuTorch program' if data else 'empty'}.",
            "Give a .pte file; 'mvdeploy export --format executorch' makes one.",
        )
    try:
        with quiet(errors=True):
            from executorch.exir._serialize._program import deserialize_pte_binary

            return deserialize_pte_binary(data)
    except Exception as error:  # whatever its reader runs into
        raise UsageError(
            f"{path} is damaged, or of another version of ExecuTorch.",
            "Export the model again with the installed version of executorch.",
        ) from error


def _plan(path: Path) -> Any:
    read = parsed(path)
    program: Any = getattr(read, "program", read)
    plans = {plan.name: plan for plan in program.execution_plan}
    if _METHOD not in plans:
        raise UsageError(
            f"{path} has no method '{_METHOD}' (its methods: {', '.join(plans) or 'none'}).",
            "Export the model again, with its inference as the method 'forward'.",
        )
    return plans[_METHOD]


def _tensor(value: Any, name: str, what: str, path: Path) -> TensorInfo:
    kind = getattr(getattr(value, "scalar_type", None), "name", "")
    if kind not in _TYPES:
        raise UsageError(
            f"The {what} of {path} is no tensor of a type that NumPy has.",
            "Export a program that takes and returns tensors of numbers alone.",
        )
    return TensorInfo(name, tuple(map(int, value.sizes)), _TYPES[kind])


def _bounded(value: Any) -> bool:
    """Say whether a tensor may be smaller; in which dimensions is not in the file."""
    return bool(getattr(value, "shape_dynamism", 0))


def _operators(plan: Any) -> Iterator[Operator]:
    """Yield the kernels that run outside of delegates, in order."""
    seen: Counter[str] = Counter()
    for instruction in (i for chain in plan.chains for i in chain.instructions):
        arguments = instruction.instr_args
        if not hasattr(arguments, "op_index"):
            continue
        op = plan.operators[arguments.op_index]
        kind = f"{op.name.replace('::', '.')}.{op.overload or 'default'}"
        seen[kind] += 1
        yield Operator(f"{op.name.rpartition(':')[2]}_{seen[kind]}", kind, UNPLACED, (), ())
