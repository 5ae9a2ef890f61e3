"""Check an exported file against the network it came from."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import export, models, passes, runtimes
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.export import HOST_ENGINES
from mvdeploy.records import Artifact, Parity

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class MutationResult:
    """What the check said of a copy that was broken on purpose.

    Attributes:
        mutation: what was broken.
        module: where.
        caught: the check failed.
        named: the module it named.
        parity: all of it.
    """

    mutation: str
    module: str
    caught: bool
    named: str
    parity: Parity

    @property
    def good(self) -> bool:
        """It was caught and the right module was named."""
        return self.caught and self.named == self.module


class Verifier:
    """The network of an artifact, built again to compare with.

    Args:
        path: the exported file.
        photograph: image to compare on, among other inputs; None for one that is always there.
        on_step: is told what happens.

    Raises:
        UsageError: the file, its manifest, its weights or the photograph cannot be used.
    """

    def __init__(
        self, path: Path, photograph: Path | None = None, on_step: OnStep = lambda _: None
    ) -> None:
        from mvdeploy.models.preprocess import load_image, sample_photograph

        self._path = path
        self._step = on_step
        self.artifact: Artifact = export.read(path)
        self._engine = runtimes.for_format(self.artifact.format, HOST_ENGINES)
        spec = self.artifact.spec
        image = load_image(
            photograph or sample_photograph(), self.artifact.preprocessing, spec.batch
        )
        self._image: npt.NDArray[np.float32] = image
        on_step(f"{spec.label}: build")
        self._network: nn.Module = models.build(spec)
        names = tuple(report.name for report in self.artifact.passes)
        import torch

        self._rewritten, _ = passes.apply(self._network, torch.from_numpy(image), names)

    def check(self) -> Parity:
        """Compare the file with the network, outputs and inside."""
        self._step(f"{self._path.name}: compare with PyTorch")
        return self._check(self._path)

    def _check(self, path: Path) -> Parity:
        from mvdeploy.verify import inputs, parity

        images = {"photograph": self._image, **inputs.synthetic(self._image.shape)}
        return parity.check(
            self.artifact, path, self._network, images, self._engine, rewritten=self._rewritten
        )

    def mutations(self) -> tuple[MutationResult, ...]:
        """Check copies of the file that were broken on purpose.

        Raises:
            UsageError: the format is not ONNX.
        """
        if self.artifact.format != "onnx":
            raise UsageError(
                f"Mutations are made in ONNX files, not in the format {self.artifact.format}.",
                "Export the model with --format onnx.",
            )
        import onnx

        from mvdeploy.verify.mutations import mutants

        results = []
        model = onnx.load(str(self._path))
        with tempfile.TemporaryDirectory() as folder:
            for name, module, mutant in mutants(model, self.artifact, self._network):
                self._step(f"{name} in {module}")
                path = Path(folder) / self._path.name
                onnx.save(mutant, str(path))
                parity = self._check(path)
                first = parity.first_diverging
                named = first.module if first else ""
                results.append(MutationResult(name, module, not parity.passed, named, parity))
        return tuple(results)
