"""Load torchvision without its native library, where that does not fit the torch that is there.

timm and transformers import torchvision, but of its native library their networks use nothing. The
package indexes offer builds of it for other builds of torch; beside these its library is not
loaded, and the import fails ("operator torchvision::nms does not exist"), because its Python part
says how operators are differentiated that its native part would have declared. They are declared
here, without anything that computes them, and the rest of torchvision is imported as it is. One
that loads by itself is not touched.
"""

from __future__ import annotations

import importlib.machinery
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_NAME = "torchvision"
_OPERATOR = re.compile(rf"[\"']{_NAME}::(\w+)[\"']")
_declared: list[Any] = []
"""A declaration lives as long as its `torch.library.Library`."""


def provide() -> None:
    """From now on, let torchvision be imported where its native library is not loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision where Python does, and has it imported again when the first try fails."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None or spec.origin is None:
            return spec
        execute = spec.loader.exec_module
        folder = Path(spec.origin).parent

        def execute_without_library(module: ModuleType) -> None:
            empty = dict(vars(module))
            try:
                execute(module)
            except RuntimeError as error:
                if f"{_NAME}::" not in str(error) or _declared:
                    raise
                for part in [part for part in sys.modules if part.startswith(f"{_NAME}.")]:
                    del sys.modules[part]
                vars(module).clear()
                vars(module).update(empty)
                _declare(folder)
                execute(module)

        # Of this one import: Python makes a loader each time that it looks for a module.
        spec.loader.exec_module = execute_without_library  # type: ignore[method-assign]
        return spec


def _declare(folder: Path) -> None:
    """Declare the operators that torchvision's Python part registers something for."""
    import torch

    names = {
        name
        for file in folder.glob("*.py")
        for name in _OPERATOR.findall(file.read_text(encoding="utf-8"))
    }
    library = torch.library.Library(_NAME, "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in sorted(names):
        library.define(f"{name}(Tensor x) -> Tensor")  # type: ignore[no-untyped-call]
    _declared.append(library)
