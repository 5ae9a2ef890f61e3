"""MobileViT's checkpoints: the layouts of other libraries, what they are fed, conversion.

A checkpoint's layout is told by the names of its tensors. Each file in ``layouts/`` is one layout:
its table of names, and what its networks are fed.
"""

from mvdeploy.models.families.mobilevit.checkpoints.conversion import convert
from mvdeploy.models.families.mobilevit.checkpoints.detect import (
    Candidates,
    Checkpoint,
    inspect,
    layout_names,
)

__all__ = ["Candidates", "Checkpoint", "convert", "inspect", "layout_names"]
