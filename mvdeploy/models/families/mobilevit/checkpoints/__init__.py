"""Trained weights of other libraries: found out, checked, loaded, converted.

A checkpoint's layout is told by the names of its tensors. Each file in ``layouts/`` is one layout:
its table of names, and what its networks are fed. Names and shapes are known without torch for
safetensors files; values are read only when the network is built.
"""

from mvdeploy.models.families.mobilevit.checkpoints.conversion import convert
from mvdeploy.models.families.mobilevit.checkpoints.detect import (
    Candidates,
    Checkpoint,
    demand,
    inspect,
    layout_names,
)
from mvdeploy.models.families.mobilevit.checkpoints.reading import load

__all__ = [
    "Candidates",
    "Checkpoint",
    "convert",
    "demand",
    "inspect",
    "layout_names",
    "load",
]
