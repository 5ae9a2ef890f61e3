"""torch's exporter to ONNX reads the sources of its 500 operators for every export (0.4 s).

Importing this lets a process of the tests read them once.
"""

from __future__ import annotations

import copy
import functools

from torch.onnx._internal.exporter._registration import ONNXRegistry

_read = functools.cache(ONNXRegistry.from_torchlib)


def _from_torchlib(**opset: int) -> ONNXRegistry:
    """Return a table of its own for one export."""
    table = copy.copy(_read(**opset))
    table.functions = {target: list(found) for target, found in table.functions.items()}
    return table


ONNXRegistry.from_torchlib = staticmethod(_from_torchlib)
