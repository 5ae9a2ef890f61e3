"""Check an exported file against the network it came from."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import export, passes
from mvdeploy.pipeline import origin
from mvdeploy.pipeline.files import load_runnable
from mvdeploy.records import Artifact, Parity
from mvdeploy.verify import mutations

if TYPE_CHECKING:
    from torch import nn

OnStep = Callable[[str], None]


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
        weights: where the network's checkpoint is now; None to look where it was.
        model: what builds the network now; None for what the manifest says.
        photograph: image to compare on, among other inputs; None for one that is always there.
        on_step: is told what happens.

    Raises:
        UsageError: the file, its manifest, its weights or the photograph cannot be used.
    """

    def __init__(
        self,
        path: Path,
        photograph: Path | None = None,
        on_step: OnStep = lambda _: None,
        *,
        weights: Path | None = None,
        model: str | None = None,
    ) -> None:
        from mvdeploy.models.preprocess import load_images, sample_photograph
        from mvdeploy.verify import inputs

        self._path = path
        self._step = on_step
        self.artifact: Artifact = load_runnable(path)
        self._engine = export.verifier(self.artifact.format)
        spec = self._spec = origin.spec_of(self.artifact, path, weights, model)
        rule = self.artifact.preprocessing
        images = load_images(photograph or sample_photograph(), spec.inputs, rule)
        feeds = inputs.feeds(spec.inputs, rule, images)
        self._feeds = inputs.with_batches(feeds, self.artifact.inputs)
        self._feed = next(iter(self._feeds.values()))
        on_step(f"{spec.label}: build")
        self._network: nn.Module = origin.network(self.artifact, spec)
        names = tuple(report.name for report in self.artifact.passes)
        import torch

        self._rewritten, _ = passes.apply(
            self._network, tuple(map(torch.from_numpy, self._feed.values())), names
        )

    def check(self) -> Parity:
        """Compare the file with the network, outputs and inside.

        Raises:
            UsageError: they differ because the network has other weights than the one exported.
        """
        self._step(f"{self._path.name}: compare with PyTorch")
        parity = self._check(self._path)
        if not parity.passed:
            origin.demand_same_weights(self.artifact, self._network, self._spec)
        return parity

    def _check(self, path: Path, *, inside: bool = True) -> Parity:
        """Compare a file: outputs and inside, or the outputs alone."""
        from mvdeploy.verify import parity

        rewritten = self._rewritten if inside else None
        return parity.check(
            self.artifact, path, self._network, self._feeds, self._engine, rewritten=rewritten
        )

    def mutations(self) -> tuple[MutationResult, ...]:
        """Check copies of the file that were broken on purpose."""
        results = []
        subject = mutations.Subject(
            self._path, self.artifact, self._network, self._rewritten, self._feed, self._export
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._path.name
            for mutant in export.mutants(self.artifact.format)(subject):
                self._step(f"{mutant.name} in {mutant.module}")
                mutant.write(path)
                parity = self._check(path, inside=mutant.same_operators)
                first = parity.first_diverging
                named = first.module if first else ""
                caught = not parity.passed
                results.append(MutationResult(mutant.name, mutant.module, caught, named, parity))
        return tuple(results)

    def _export(self, network: nn.Module, path: Path) -> None:
        """Write another network as the file was written."""
        artifact = self.artifact
        options = export.options_of(artifact)
        source = export.Source(artifact.spec, network, {}, 0, (), artifact.preprocessing)
        export.write(source, artifact.format, path, options)
