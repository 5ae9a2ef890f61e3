"""Check an exported file against the network it came from."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import export, models, passes
from mvdeploy.pipeline.export import load_runnable
from mvdeploy.records import Artifact, Parity
from mvdeploy.verify import engines

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

OnStep = Callable[[str], None]
_Mutant = tuple[str, str, Callable[[], Parity]]
"""What was broken, in which module, and the check of it."""


@dataclasses.dataclass(frozen=True)
class MutationResult:
    """What the check said of a copy that was broken on purpose.

    Attributes:
        mutation: what was broken.
        module: where.
        caught: the check failed.
        named: the module it named; empty if it named none.
        parity: all of it.
    """

    mutation: str
    module: str
    caught: bool
    named: str
    parity: Parity

    @property
    def good(self) -> bool:
        """It was caught and the right module was named, where the check looked inside."""
        return self.caught and (not self.parity.modules or self.named == self.module)


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
        self.artifact: Artifact = load_runnable(path)
        self._engine = engines.for_format(self.artifact.format)
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

    def _check(self, path: Path, remade: Artifact | None = None) -> Parity:
        """Compare a file: outputs and inside, or the outputs alone of one that was made again."""
        from mvdeploy.verify import inputs, parity

        images = {"photograph": self._image, **inputs.synthetic(self._image.shape)}
        inside = None if remade else self._rewritten
        return parity.check(
            remade or self.artifact, path, self._network, images, self._engine, rewritten=inside
        )

    def mutations(self) -> tuple[MutationResult, ...]:
        """Check copies of the file that were broken on purpose."""
        results = []
        own = {"onnx": self._onnx_mutants, "coreml": self._coreml_mutants}
        mutants = own.get(self.artifact.format, self._program_mutants)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._path.name
            for name, module, check in mutants(path):
                self._step(f"{name} in {module}")
                parity = check()
                first = parity.first_diverging
                named = first.module if first else ""
                results.append(MutationResult(name, module, not parity.passed, named, parity))
        return tuple(results)

    def _onnx_mutants(self, path: Path) -> Iterator[_Mutant]:
        import onnx

        from mvdeploy.verify.mutations.onnx import mutants

        def check(model: onnx.ModelProto) -> Parity:
            onnx.save(model, str(path))
            return self._check(path)

        model = onnx.load(str(self._path))
        for name, module, mutant in mutants(model, self.artifact, self._network):
            yield name, module, functools.partial(check, mutant)

    def _coreml_mutants(self, path: Path) -> Iterator[_Mutant]:
        from mvdeploy.verify.mutations.coreml import mutants, save

        def check(spec: object) -> Parity:
            save(spec, self._path, path)
            return self._check(path)

        for name, module, mutant in mutants(self._path, self.artifact):
            yield name, module, functools.partial(check, mutant)

    def _program_mutants(self, path: Path) -> Iterator[_Mutant]:
        """Break the program that the file was made from, and make a file of it in the same way."""
        import torch

        from mvdeploy.verify.mutations.program import mutants

        artifact = self.artifact
        options = export.options_of(artifact)

        def check(program: torch.export.ExportedProgram) -> Parity:
            network = program.module()
            source = export.Source(artifact.spec, network, {}, 0, (), artifact.preprocessing)
            return self._check(path, export.write(source, artifact.format, path, options))

        program = torch.export.export(self._rewritten, (torch.from_numpy(self._image),))
        # Lowering takes its time: one place of each kind.
        for name, module, mutant in mutants(program, places=1):
            yield name, module, functools.partial(check, mutant)
