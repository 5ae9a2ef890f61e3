"""Build, rewrite, export, verify; only then does the file appear under its name."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import export as formats
from mvdeploy import models, passes, runtimes
from mvdeploy.errors import UsageError
from mvdeploy.records import Artifact, ModelSpec, Parity

if TYPE_CHECKING:
    from torch import nn

HOST_ENGINES = ("onnxruntime", "pytorch")
"""Engines of this machine that an export is verified with."""

OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A verified export.

    Attributes:
        path: the file; its manifest lies beside it.
        artifact: the manifest.
        parity: the check it passed.
    """

    path: Path
    artifact: Artifact
    parity: Parity


class Builder:
    """Exports one network to any number of formats; it is built and rewritten once.

    Args:
        spec: the network.
        photograph: an image that parity is checked on, among other inputs; None for one that is
            always there.
        on_step: is told what happens.
    """

    def __init__(
        self,
        spec: ModelSpec,
        photograph: Path | None = None,
        on_step: OnStep = lambda _: None,
    ) -> None:
        from mvdeploy.models.preprocess import load_image, sample_photograph

        self._spec = spec
        self._step = on_step
        self._rule = models.preprocessing(spec)
        self._image = load_image(photograph or sample_photograph(), self._rule, spec.batch)
        self._network: nn.Module | None = None
        self._source: formats.Source | None = None

    def export(self, format_name: str, path: Path) -> Exported:
        """Export to `path`, verified.

        If anything fails, what was there before stays, and nothing new does.

        Raises:
            CheckFailed: the export does not compute what the network does.
            EngineError: the exporter or the engine failed.
            UsageError: the file cannot be written.
        """
        from mvdeploy.verify import inputs, parity

        engine = runtimes.for_format(format_name, HOST_ENGINES)
        with staged(path) as part:
            source, network = self._build()
            self._step(f"{self._spec.label}: export to {format_name}")
            artifact = formats.write(source, format_name, part)
            self._step(f"{self._spec.label}: verify {format_name} against PyTorch")
            images = {"photograph": self._image, **inputs.synthetic(self._image.shape)}
            result = parity.check(artifact, part, network, images, engine)
            parity.demand(result, f"{self._spec.label} in {format_name}")
        return Exported(path, artifact, result)

    def _build(self) -> tuple[formats.Source, nn.Module]:
        import torch

        if self._source is None or self._network is None:
            self._step(f"{self._spec.label}: build")
            self._network = models.build(self._spec)
            network, reports = passes.apply(self._network, torch.from_numpy(self._image))
            self._source = formats.Source(
                spec=self._spec,
                network=network,
                modules=models.module_table(self._network),
                parameters=models.parameter_count(self._network),
                passes=reports,
                preprocessing=self._rule,
            )
        return self._source, self._network


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a place to write an artifact and its manifest, and move both to `path` on success.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            raise UsageError(
                f"{path.parent} cannot be written to ({error.strerror}).",
                "Give another place with -o.",
            ) from error
        part = folder / path.name
        yield part
        # The manifest goes last: until it is there, the sha256 in the old one refuses the new file.
        part.replace(path)
        formats.manifest_path(part).replace(formats.manifest_path(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
