"""The parts of an evaluation: what is fed, what judges it, what is counted and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mvdeploy.records import DeviceProfile, FileInputs, ModelSpec

NOT_ASKED = "it was not asked for"
"""Why agreement with PyTorch is not known where nobody wants to know."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be evaluated.

    Attributes:
        subjects: networks and exported files; the first is the reference of the others.
        data: a folder or file; see `mvdeploy.datasets`.
        device: where; on this machine files are run by what verifies them.
        class_map: file that says which class a folder or label is.
        split: which part of data that has several; empty for the usual.
        limit: most images; None for all.
        seed: of the choice.
        threads: of the engines on this machine.
        with_pytorch: compare with the PyTorch network of each file too.
        output: a folder to keep all in, or a .csv file for what is said of each image.
        link_options: how the device is reached, as `links.get` takes it.
        said: what is said of the inputs of files.
        network: the one that files without a manifest came from.
        task: of files whose network is not known.
        weights: where the checkpoint of the first file is now.
        model: what builds the network of the first file now.
    """

    subjects: tuple[ModelSpec | Path, ...]
    data: Path
    device: DeviceProfile
    class_map: Path | None = None
    split: str = ""
    limit: int | None = None
    seed: int = 0
    threads: int = 1
    with_pytorch: bool = True
    output: Path | None = None
    link_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    said: FileInputs | None = None
    network: ModelSpec | None = None
    task: str | None = None
    weights: Path | None = None
    model: str | None = None
