"""What torch's exporters do again for every export, though it stays the same.

Importing this lets a process of the tests do it once, which is a tenth of the time of all tests.
"""

from __future__ import annotations
import __future__

import copy
import functools
import inspect
import textwrap

import torch
from torch import _ops
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from mvdeploy.quantization import rewriting  # noqa: F401  the table has its operators too

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


def _without_types() -> None:
    """Keep `py_impl` from making the types of its annotations, thousands of times an export."""
    source = textwrap.dedent(inspect.getsource(_ops.OperatorBase.py_impl))
    code = compile(source, _ops.__file__, "exec", __future__.annotations.compiler_flag)
    made: dict[str, object] = {}
    exec(code, vars(_ops), made)
    _ops.OperatorBase.py_impl = made["py_impl"]


ONNXRegistry.from_torchlib = staticmethod(_from_torchlib)
utils._materialize_cpp_cia_ops = _materialize_new
_without_types()
