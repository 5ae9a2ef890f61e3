"""The libraries that also have these networks, importable beside any build of torch."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import torch

_OPERATORS = (
    *("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"),
    *("deform_conv2d", "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward"),
    *("_ps_roi_pool_backward", "_deform_conv2d_backward"),
)
_DECLARED: list[torch.library.Library] = []  # a declaration lives as long as its library


def timm() -> ModuleType:
    """Import timm."""
    _declare_operators_of_torchvision()
    return importlib.import_module("timm")


def transformers() -> ModuleType:
    """Import transformers, offline and without progress bars."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    _declare_operators_of_torchvision()
    module = importlib.import_module("transformers")
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    return module


def _declare_operators_of_torchvision() -> None:
    """Let torchvision be imported beside a torch that its native library was not built for.

    Its wheels are built for CUDA; beside a CPU build of torch the library cannot be loaded, and the
    import fails because operators it would have declared are missing. Nothing here runs them.
    """
    if _DECLARED:
        return
    found = importlib.util.find_spec("torchvision")
    assert found is not None and found.origin is not None
    try:
        for library in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        _DECLARED.append(library)
