"""Break copies of a saved Core ML package on purpose, operator by operator."""

from __future__ import annotations

import copy
import functools
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions
from mvdeploy.verify.mutations import BELOW_HALF, Mutant, Subject, whole_numbers

Mutation = Callable[["Editor", Any], None]
Values = npt.NDArray[np.floating[Any]]
Change = Callable[[Values], None]
"""Changes numbers of a file of weights, in place."""

_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
_OTHER_AXIS = {-1: -2, 3: 2, -2: -1, 2: 3}
_OTHER_ACTIVATION = {
    **dict.fromkeys(("relu", "relu6", "clip"), "tanh"),
    **dict.fromkeys(("gelu", "leaky_relu", "prelu", "elu"), "relu"),
    "sigmoid_hard": "sigmoid",
}
"""What an activation becomes, SiLU excepted."""

_STAND_FOR = ("lut", "scale")
"""Attributes of compressed constants whose numbers its weight is made of."""

_FLOAT16 = 10
"""Number of the element type in specifications."""

_EXTENT = struct.Struct("<QQ")
"""Size and place of a tensor, behind four bytes of a mark and four of the element type."""

_HALF, _FLOAT = struct.Struct("<e"), struct.Struct("<f")


class Editor:
    """A copy of a package's specification, to be changed.

    Args:
        spec: is copied.
    """

    def __init__(self, spec: Any) -> None:
        self.spec = copy.deepcopy(spec)
        function = self.spec.mlProgram.functions["main"]
        self._block = function.block_specializations[function.opset]
        self._makers = {out.name: op for op in self._block.operations for out in op.outputs}
        self.changed: list[tuple[int, int, Change]] = []

    @property
    def operations(self) -> list[Any]:
        """The operators but constants, in the order they run."""
        return [op for op in self._block.operations if op.type != "const"]

    def constant(self, op: Any, name: str) -> Any | None:
        """Return the value that a constant of an operator holds in the specification itself.

        Returns:
            The protocol buffer's value; None if there is none, or it lies in the file of weights.
        """
        value = self._value(op, name)
        return value if value is not None and value.HasField("immediateValue") else None

    def blob(self, op: Any, name: str) -> Any | None:
        """Return the value of a constant that lies in the file of weights; None for any other."""
        value = self._value(op, name)
        return value if value is not None and value.HasField("blobFileValue") else None

    def compressed(self, op: Any, name: str) -> Any | None:
        """Return the table or the scales of a compressed constant; None for any other."""
        bound = list(op.inputs[name].arguments) if name in op.inputs else []
        maker = self._makers.get(bound[0].name) if len(bound) == 1 else None
        own = maker.attributes if maker is not None else {}
        value = next((own[key] for key in _STAND_FOR if key in own), None)
        return value if value is not None and value.HasField("blobFileValue") else None

    def _value(self, op: Any, name: str) -> Any | None:
        bound = list(op.inputs[name].arguments) if name in op.inputs else []
        maker = self._makers.get(bound[0].name) if len(bound) == 1 else None
        return None if maker is None or maker.type != "const" else maker.attributes["val"]

    def finish(self) -> Any:
        """Return the changed specification."""
        return self.spec


def drop_bias(editor: Editor, op: Any) -> None:
    """A convolution or linear layer loses its bias."""
    del op.inputs["bias"]


def change_softmax_axis(editor: Editor, op: Any) -> None:
    """Softmax runs over the queries instead of the keys."""
    axis = editor.constant(op, "axis")
    if axis is not None:
        values = axis.immediateValue.tensor.ints.values
        # Queries and keys are the last two dimensions, in one order or the other.
        values[0] = _OTHER_AXIS[values[0]]


def silu_to_relu(editor: Editor, op: Any) -> None:
    """The activation x·sigmoid(x) becomes max(x, 0)."""
    op.type = "relu"


def scale_attention(editor: Editor, op: Any) -> None:
    """The queries are scaled by 1.1 times what they should be."""
    _multiply(editor.constant(op, "y"), 1.1)


def enlarge_layernorm_eps(editor: Editor, op: Any) -> None:
    """LayerNorm's epsilon is 100 times too large."""
    _multiply(editor.constant(op, "epsilon"), 100.0)


def exchange_activation(editor: Editor, op: Any) -> None:
    """An activation is another one."""
    op.type = _OTHER_ACTIVATION[op.type]
    for name in [name for name in op.inputs if name != "x"]:
        del op.inputs[name]


def scale_weight(editor: Editor, op: Any) -> None:
    """A weight is 1.01 times what it should be."""
    _change(editor, editor.blob(op, "weight"), _larger)


def scale_compressed(editor: Editor, op: Any) -> None:
    """The table or the scales of a compressed weight are 1.01 times what they should be."""
    _change(editor, editor.compressed(op, "weight"), _larger)


def exchange_compressed(editor: Editor, op: Any) -> None:
    """Every channel has the scale of the one before, or every index the value before its own."""
    _change(editor, editor.compressed(op, "weight"), _moved)


def _change(editor: Editor, value: Any | None, change: Change) -> None:
    if value is not None:
        place = value.blobFileValue.offset, value.type.tensorType.dataType
        editor.changed.append((*place, change))


def _larger(values: Values) -> None:
    values *= values.dtype.type(1.01)


def _moved(values: Values) -> None:
    values[:] = np.roll(values, 1)


def _multiply(value: Any | None, factor: float) -> None:
    if value is None:
        return
    tensor = value.immediateValue.tensor
    if tensor.WhichOneof("value") == "bytes":
        (number,) = _HALF.unpack(tensor.bytes.values)
        tensor.bytes.values = _HALF.pack(number * factor)
    else:
        tensor.floats.values[0] *= factor


def _is_scale(editor: Editor, op: Any) -> bool:
    return op.type == "mul" and editor.constant(op, "y") is not None


def _is_softmax(editor: Editor, op: Any) -> bool:
    # The last operator of a classifier is a softmax as well, over its classes.
    axis = editor.constant(op, "axis")
    if axis is None or axis.immediateValue.tensor.ints.values[0] not in _OTHER_AXIS:
        return False
    return op.type == "softmax" and len(op.outputs[0].type.tensorType.dimensions) > 2


_MUTATIONS: dict[str, tuple[Mutation, Callable[[Editor, Any], bool]]] = {
    "convolution bias dropped": (
        drop_bias,
        lambda _, op: op.type == "conv" and "bias" in op.inputs,
    ),
    "linear bias dropped": (drop_bias, lambda _, op: op.type == "linear" and "bias" in op.inputs),
    "weight × 1.01": (scale_weight, lambda editor, op: editor.blob(op, "weight") is not None),
    "compressed weight × 1.01": (
        scale_compressed,
        lambda editor, op: editor.compressed(op, "weight") is not None,
    ),
    "compressed weight: scales or values exchanged": (
        exchange_compressed,
        lambda editor, op: editor.compressed(op, "weight") is not None,
    ),
    "softmax axis": (change_softmax_axis, _is_softmax),
    "SiLU → ReLU": (silu_to_relu, lambda _, op: op.type == "silu"),
    "activation exchanged": (exchange_activation, lambda _, op: op.type in _OTHER_ACTIVATION),
    "attention scale × 1.1": (scale_attention, _is_scale),
    "LayerNorm eps × 100": (enlarge_layernorm_eps, lambda _, op: op.type == "layer_norm"),
}


def read(package: Path) -> Any:
    """Read the specification of a package."""
    from coremltools.proto import Model_pb2

    return Model_pb2.Model.FromString((package / _MODEL).read_bytes())


def save(editor: Editor, package: Path, path: Path) -> None:
    """Write a copy of a package, changed."""
    if path.exists():
        shutil.rmtree(path)
    shutil.copytree(package, path)
    (path / _MODEL).write_bytes(editor.finish().SerializeToString())
    for offset, kind, change in editor.changed:
        _rewrite(path / _WEIGHTS, offset, np.float16 if kind == _FLOAT16 else np.float32, change)


def _rewrite(weights: Path, offset: int, dtype: type[np.floating[Any]], change: Change) -> None:
    """Change a tensor in a file of weights; what is at its offset says where it is."""
    stored = bytearray(weights.read_bytes())
    size, place = _EXTENT.unpack_from(stored, offset + 8)
    change(np.frombuffer(stored, dtype, size // np.dtype(dtype).itemsize, place))
    weights.write_bytes(stored)


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Make broken copies: every mutation at the first, the middle and the last place it fits.

    In a precision that rounds, those that rounding hides are left out; in float32 they show. Whole
    numbers between operators are broken too, and a package is made of them.
    """
    spec = read(subject.path)
    plain = Editor(spec)
    modules = {op.outputs[0]: op.module for op in subject.artifact.operators}
    rounds = precisions.get(subject.artifact.precision).max_ratio is None
    for name, (mutate, fits) in _MUTATIONS.items():
        if rounds and name in BELOW_HALF:
            continue
        places = [
            i
            for i, op in enumerate(plain.operations)
            if op.outputs[0].name in modules and fits(plain, op)
        ]
        for index in dict.fromkeys(places[i] for i in (0, len(places) // 2, -1) if places):
            editor = Editor(spec)
            op = editor.operations[index]
            mutate(editor, op)
            write = functools.partial(save, editor, subject.path)
            yield Mutant(name, modules[op.outputs[0].name], write)
    yield from whole_numbers.mutants(subject)
