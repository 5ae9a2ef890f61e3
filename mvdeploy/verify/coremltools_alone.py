"""coremltools, imported without the libraries that it looks for and nothing here has it use."""

from __future__ import annotations

import functools
import importlib
import sys

_NEEDLESS = ("sklearn", "libsvm", "xgboost", "tensorflow", "transformers", "torchao", "executorch")
"""It imports what there is of them, to convert models of theirs: more than half of its import."""


@functools.cache
def import_coremltools() -> None:
    """Import coremltools; what is hidden from it can be imported again afterwards."""
    importlib.import_module("torch")  # which may look for the same
    hidden = [name for name in _NEEDLESS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("coremltools")
    finally:
        for name in hidden:
            del sys.modules[name]
