"""Tables of torch's exporters that are made anew for every export, though they stay the same.

Importing this lets a process of the tests make them once: 8 % of the time of all tests.
"""

from __future__ import annotations

import copy
import functools

import torch
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

_read = functools.cache(ONNXRegistry.from_torchlib)
_materialize = utils._materialize_cpp_cia_ops
_known: list[str] = []


def _from_torchlib(**opset: int) -> ONNXRegistry:
    """Return a table of its own for one export; to read one takes 0.4 s."""
    table = copy.copy(_read(**opset))
    table.functions = {target: list(found) for target, found in table.functions.items()}
    return table


def _materialize_new() -> None:
    """Look torch's operators up where some came to them."""
    found = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    if found != _known:
        _materialize()
        _known[:] = found


ONNXRegistry.from_torchlib = staticmethod(_from_torchlib)
utils._materialize_cpp_cia_ops = _materialize_new
