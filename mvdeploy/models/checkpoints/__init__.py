"""Trained weights: read without running anything, found among other tensors, fitted strictly.

A checkpoint is taken for a network when every tensor of the network is in it, with its name and
shape, and nothing else stands among them. Where in a file they are (in which of its dicts, under
which prefix of names) is found out. Names and shapes are known without torch for safetensors files;
values are read when the network is built.

==================  ===========================================================================
``files.py``        files and folders, and reading them safely
``entries.py``      dicts of tensors in a file, and what wrappers and pruning add to names
``fitting.py``      how tensors agree with those of a network
``choosing.py``     which of a file's tensors are the network's
``reading.py``      their values
``own_names.py``    networks whose checkpoints have the network's own names
==================  ===========================================================================

The names of other libraries are the business of a family of models, as `Wanted`.
"""

from mvdeploy.models.checkpoints.choosing import Found, find
from mvdeploy.models.checkpoints.files import Source, demand_sound, locate
from mvdeploy.models.checkpoints.fitting import Fit, Shapes, Wanted
from mvdeploy.models.checkpoints.reading import demand_ordinary, load, reopen, tensors

__all__ = [
    "Fit",
    "Found",
    "Shapes",
    "Source",
    "Wanted",
    "demand_ordinary",
    "demand_sound",
    "find",
    "load",
    "locate",
    "reopen",
    "tensors",
]
