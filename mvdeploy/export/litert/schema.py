"""The flatbuffer of a ``.tflite`` file, as objects."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"
"""Stands in a file behind the first offset."""


def unpacked(data: bytes) -> Any:
    """Return a file as objects (``ModelT``)."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def packed(model: Any) -> bytes:
    """Return objects as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def add_facts(model: Any, facts: dict[str, str]) -> None:
    """Store strings in a file, each under a name."""
    from ai_edge_litert import schema_py_generated as schema

    for name, fact in facts.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(fact.encode(), np.uint8)
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]


def kind(model: Any, operator: Any) -> str:
    """Return what an operator computes, such as ``CONV_2D``."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return text(code.customCode)
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _kinds().get(number, str(number))


def text(raw: bytes | str | None) -> str:
    """Return a name in a file."""
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


@functools.cache
def _kinds() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    members = vars(schema.BuiltinOperator).items()
    return {value: name for name, value in members if isinstance(value, int)}
