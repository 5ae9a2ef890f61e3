"""Files that others exported: what they say of themselves, as an `Artifact`.

A format says by its ``read_file`` what is in a file of it, as `FileFacts`; what is fed to such a
file follows from its inputs alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mvdeploy import files
from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.formats._choices import get, names
from mvdeploy.records import (
    Artifact,
    Delegation,
    FileInputs,
    ModelSpec,
    ModuleInfo,
    Operator,
    Preprocessing,
    TensorInfo,
)
from mvdeploy.records.tensor import ANY_SHAPE

SIGNATURE = "its signature"
"""What a file was read from that says nothing of modules."""

_TYPES = {
    *("bool", "float16", "float32", "float64", "complex64", "complex128"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
"""Element types that can be fed."""

_IMAGES = ("float32", "float16", "uint8")
_CHANNELS = (1, 3)
_SMALLEST = 8
"""Pixels of a side below which an input of four dimensions is taken for no image."""

_RANGES = {"f": (0.0, 1.0), "c": (0.0, 1.0)}
_WHOLE = (0.0, 1.0)


class Counted(NamedTuple):
    """Multiply-accumulates of one inference, and operators that are in no sum."""

    macs: int
    uncounted: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """What is in a file.

    Attributes:
        inputs: in order; a dimension that is free has a name.
        outputs: in order.
        operators: in order; the module is empty where it is not known.
        modules: paths that the file tells; empty when it tells of none.
        read_from: where the modules are known from, in words.
        precision: name of a file in `mvdeploy.precisions`.
        parameters: numbers in its weights; 0 where they cannot be counted.
        versions: the programs that made it, and versions of what it is written in.
        data: files beside it that belong to it.
        runs_on: what it takes to run it; empty where an engine of the format is enough.
        delegation: how much of it runs in delegates; None for formats without them.
        count: counts the multiply-accumulates for inputs of fixed shapes; None where it cannot be.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[Operator, ...] = ()
    modules: Mapping[str, ModuleInfo] = dataclasses.field(default_factory=dict)
    read_from: str = SIGNATURE
    precision: str = "fp32"
    parameters: int = 0
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data: tuple[Path, ...] = ()
    runs_on: str = ""
    delegation: Delegation | None = None
    count: Callable[[Sequence[TensorInfo]], Counted] | None = None


def fed(inputs: Sequence[TensorInfo], said: FileInputs, path: Path) -> tuple[TensorInfo, ...]:
    """Return the inputs with the shapes and the values that they are fed.

    A batch that is free is 1 where nothing is said. What is said of inputs that it has not is for
    other files.

    Raises:
        UsageError: a shape does not fit its input, or is missing.
    """
    free = [tensor for tensor in inputs if not _sized(tensor, said)]
    if free:
        raise _free_sizes(free, path)
    return tuple(_fed(tensor, said, path) for tensor in inputs)


def demand_tensors(facts: FileFacts, path: Path) -> None:
    """Refuse a file that takes nothing, or tensors of types that NumPy lacks.

    Raises:
        UsageError: names what it is.
    """
    if not facts.inputs:
        raise UsageError(
            f"{path} takes no inputs: it computes the same every time.",
            "Export the model with what it works on as an input.",
        )
    for what, tensors in (("input", facts.inputs), ("output", facts.outputs)):
        for tensor in tensors:
            if tensor.dtype not in _TYPES and tensor.dtype != "string":
                raise UsageError(
                    f"The {what} '{tensor.name}' of {path} is of the type {tensor.dtype}, which "
                    "NumPy lacks.",
                    f"Export the model with {what}s of another type, such as float32.",
                )


def _fed(tensor: TensorInfo, said: FileInputs, path: Path) -> TensorInfo:
    shape = _shape(tensor, said.shapes.get(tensor.name), path)
    layout = _layout(tensor.dtype, shape) if tensor.layout in ("", "NCHW", "NHWC") else ""
    values = said.values.get(tensor.name)
    if layout and values is not None:
        layout = ""  # who gives a range wants numbers, not a picture
    if not layout and values is None:
        values = _RANGES.get(_kind(tensor.dtype), _WHOLE)
    return dataclasses.replace(tensor, shape=shape, layout=layout, values=values)


def _kind(dtype: str) -> str:
    return "f" if "float" in dtype else "i"


def _shape(tensor: TensorInfo, given: tuple[int, ...] | None, path: Path) -> tuple[int, ...]:
    if given is None:
        return tuple(n if isinstance(n, int) else 1 for n in tensor.shape)
    of_any = tensor.shape == ANY_SHAPE
    if not of_any and not _fits(given, tensor.shape):
        listed = ",".join(map(str, tensor.shape))
        raise UsageError(
            f"The input '{tensor.name}' of {path} has the shape {listed or 'of a single number'}, "
            f"and {','.join(map(str, given))} was asked for.",
            "Give as many dimensions after --shape, and change none but those that have a name.",
        )
    return given


def _fits(given: Sequence[int], shape: Sequence[int | str]) -> bool:
    return len(given) == len(shape) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(given, shape, strict=True)
    )


def _sized(tensor: TensorInfo, said: FileInputs) -> bool:
    """Say whether the sizes of an input are known: of a batch that is free, 1 is taken."""
    if tensor.name in said.shapes:
        return True
    fixed = all(isinstance(size, int) for size in tensor.shape[1:])
    batch_alone = fixed and tensor.shape != ANY_SHAPE
    return batch_alone or all(isinstance(n, int) or is_batch(n) for n in tensor.shape)


def _free_sizes(free: Sequence[TensorInfo], path: Path) -> UsageError:
    """Say which inputs leave which dimensions free, with an example of sizes for all of them."""
    tensor = free[0]
    size = next(n for n in tensor.shape if isinstance(n, str) and not is_batch(n))
    given = " ".join(f"--shape {x.name}={','.join(_examples(x.shape))}" for x in free)
    if tensor.shape == ANY_SHAPE:
        what = f"does not tell the shape of its input '{tensor.name}'"
        return UsageError(f"{path} {what}.", f"Say what it is, as in {given}.")
    return UsageError(
        f"The input '{tensor.name}' of {path} leaves its dimension '{size}' free "
        f"(its shape is {','.join(map(str, tensor.shape))}).",
        f"Say how large it is, as in {given}.",
    )


def _examples(shape: Sequence[int | str]) -> Iterator[str]:
    if shape == ANY_SHAPE:
        shape = ("batch", 3, "height", "width")
    for position, size in enumerate(shape):
        if isinstance(size, int):
            yield str(size)
        else:
            yield "1" if is_batch(size) or (position == 0 and size == "dim0") else "224"


def is_batch(name: str) -> bool:
    """Say whether a free dimension is named as batches are."""
    plain = name.lower().strip("_ ")
    return plain in ("n", "b", "bs", "nb") or plain.startswith("batch")


def _layout(dtype: str, shape: Sequence[int]) -> str:
    """Return the layout of what looks like an image; empty for all others."""
    if len(shape) != 4 or dtype not in _IMAGES:
        return ""
    if shape[1] in _CHANNELS and min(shape[2:]) >= _SMALLEST:
        return "NCHW"
    if shape[3] in _CHANNELS and min(shape[1:3]) >= _SMALLEST:
        return "NHWC"
    return ""


def as_network(tensor: TensorInfo) -> TensorInfo:
    """Return an input as a network takes it: images are float32, the channels first."""
    if not tensor.layout:
        return tensor
    batch, *rest = tensor.shape
    channels, height, width = rest if tensor.layout == "NCHW" else (rest[2], *rest[:2])
    shape = (batch, channels, height, width)
    return dataclasses.replace(tensor, shape=shape, dtype="float32", layout="NCHW")


def image_size(inputs: Sequence[TensorInfo]) -> tuple[int, int]:
    """Return height and width of the first image that is fed; of nothing, one pixel."""
    image = next((as_network(tensor) for tensor in inputs if tensor.layout), None)
    return (int(image.shape[2]), int(image.shape[3])) if image else (1, 1)


def batch(inputs: Sequence[TensorInfo]) -> int:
    """Return the batch that is fed: the first dimension of the first input that has one."""
    return next((int(tensor.shape[0]) for tensor in inputs if tensor.shape), 1)


def readers() -> dict[str, str]:
    """Return the formats that files without a manifest are read as, by their endings."""
    formats = [(name, get(name)) for name in names()]
    return {
        ending: name
        for name, exporter in formats
        if hasattr(exporter, "read_file")
        for ending in getattr(exporter, "READS", (exporter.SUFFIX,))
    }


def read_file(path: Path, said: FileInputs | None = None) -> Artifact:
    """Read what a file says of itself, whoever made it; a manifest is not looked for.

    Args:
        path: of a format that is read by its ending.
        said: what is said of its inputs.

    Raises:
        UsageError: it is not there, is not what its ending says, or is damaged; or a free dimension
            of an input has no size.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    if not path.is_dir():
        reading.demand_regular(path, reading.WEIGHTS, "a program")
    by_ending = readers()
    ending = path.suffix.lower()
    if ending not in by_ending:
        raise UsageError(
            f"{path} is of no kind that is read ({', '.join(by_ending)}).",
            "Give a file with one of these endings, or one that 'mvdeploy export' wrote.",
        )
    format_name = by_ending[ending]
    facts: FileFacts = get(format_name).read_file(path)
    demand_tensors(facts, path)
    taken = fed(facts.inputs, said or FileInputs(), path)
    counted = facts.count(taken) if facts.count is not None else None
    size = image_size(taken)
    return Artifact(
        path=path.name,
        sha256=files.sha256(path, facts.data),
        size_bytes=sum(map(files.size, (path, *facts.data))),
        format=format_name,
        precision=facts.precision,
        spec=ModelSpec(
            model="",
            patches=(),
            image_size=size,
            task="tensors",
            batch=batch(taken),
            seed=None,
            own_inputs=tuple(map(as_network, taken)),
            own_outputs=facts.outputs,
        ),
        passes=(),
        inputs=tuple(
            dataclasses.replace(tensor, layout=now.layout)
            for tensor, now in zip(facts.inputs, taken, strict=True)
        ),
        outputs=facts.outputs,
        preprocessing=Preprocessing(size, size),
        versions=dict(facts.versions),
        operators=facts.operators,
        modules=dict(facts.modules),
        parameters=facts.parameters,
        macs=counted.macs if counted else None,
        runs_on=facts.runs_on,
        delegation=facts.delegation,
        read_from=facts.read_from,
        data=tuple(file.relative_to(path.parent).as_posix() for file in facts.data),
        uncounted=counted.uncounted if counted else (),
    )


def with_inputs(artifact: Artifact, said: FileInputs, path: Path) -> Artifact:
    """Return a manifest whose free dimensions have the sizes that are asked for.

    Raises:
        UsageError: see `read_file`.
    """
    spec = artifact.spec
    taken = fed(artifact.inputs, said, path)
    own = tuple(map(as_network, taken)) if spec.own_inputs else ()
    size = image_size(taken)
    changed = dataclasses.replace(spec, own_inputs=own, batch=batch(taken), image_size=size)
    if changed == spec:
        return artifact
    rule = artifact.preprocessing
    if rule.crop != size:
        rule = dataclasses.replace(rule, resize=size, crop=size)
    return dataclasses.replace(artifact, spec=changed, preprocessing=rule, macs=None)
