"""Check an exported file against the network it came from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import formats, passes
from mvdeploy.errors import MvdeployError
from mvdeploy.files import writing
from mvdeploy.pipeline import origin
from mvdeploy.pipeline.files import load_runnable
from mvdeploy.records import Artifact, Parity
from mvdeploy.verify.mutations import Mutant, Subject

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.verify.parity import Watch
    from mvdeploy.verify.reference import Array, Yardstick

OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class MutationResult:
    """What the check said of a copy that was broken on purpose.

    Attributes:
        mutation: what was broken.
        module: where.
        caught: the check failed.
        named: the module it named; empty if it named none.
        parity: all of it; None when the copy could not be run.
        refused: what the exporter or the engine said of the copy; empty when it ran.
        no_effect: it passed, and all tensors that were compared are the file's own, bit for bit:
            there was nothing to catch, as in a softmax over one token.
    """

    mutation: str
    module: str
    caught: bool
    named: str
    parity: Parity | None
    refused: str = ""
    no_effect: bool = False

    @property
    def good(self) -> bool:
        """It was caught and the right module was named, where the check looked inside."""
        blind = self.parity is None or not self.parity.modules
        return self.caught and (blind or self.named == self.module)


class Verifier:
    """The network of an artifact, built again to compare with.

    Args:
        path: the exported file.
        weights: where the network's checkpoint is now; None to look where it was.
        model: what builds the network now; None for what the manifest says.
        photograph: image to compare on, among other inputs; None for one that is always there.
        on_step: is told what happens.

    Attributes:
        artifact: the manifest.
        changed_code: the Python file that builds the network, if it is not the one exported.

    Raises:
        UsageError: the file, its manifest, its weights or the photograph cannot be used; or the
            network is built by code that only the manifest names.
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
        self._engine = formats.verifier(self.artifact.format, self.artifact.precision)
        spec = self._spec = origin.spec_of(self.artifact, path, weights, model)
        rule = self.artifact.preprocessing
        images = load_images(photograph or sample_photograph(), spec.inputs, rule)
        feeds = inputs.feeds(spec.inputs, rule, images)
        self._feeds = inputs.with_batches(feeds, self.artifact.inputs)
        self._feed = next(iter(self._feeds.values()))
        on_step(f"{spec.label}: build")
        self._network: nn.Module = origin.network(self.artifact, spec)
        self.changed_code = origin.changed_code(self.artifact, spec)
        names = tuple(report.name for report in self.artifact.passes)
        import torch

        self._rewritten, _ = passes.apply(
            self._network, tuple(map(torch.from_numpy, self._feed.values())), names
        )

    def check(self, *, modules: bool = False) -> Parity:
        """Compare the file with the network, outputs and inside.

        Args:
            modules: look inside also where that takes a program of its own, see
                `mvdeploy.verify.probes`, and nothing looks wrong.

        Raises:
            UsageError: they differ because the network has other weights than the one exported.
        """
        self._step(f"{self._path.name}: compare with PyTorch")
        parity = self._check(self._path, modules=modules)
        if not parity.passed:
            origin.demand_same_weights(self.artifact, self._network, self._spec)
        return parity

    def _check(
        self,
        path: Path,
        *,
        modules: bool = False,
        alter: formats.Alter | None = None,
        watch: Watch = lambda _, __: None,
    ) -> Parity:
        from mvdeploy.verify import parity

        probing = formats.probing(
            self._source,
            path,
            self.artifact.format,
            self._options,
            always=modules,
            alter=alter,
            emulation=self._emulation,
        )
        return parity.check(self._yardstick, path, self._engine, probing=probing, watch=watch)

    @functools.cached_property
    def _yardstick(self) -> Yardstick:
        from mvdeploy.verify.reference import Yardstick

        return Yardstick(
            self.artifact, self._network, self._feeds, self._rewritten, self._emulation
        )

    @functools.cached_property
    def _emulation(self) -> Emulation | None:
        return formats.emulation(self._source, self.artifact.format, self._options)

    def mutations(self, chosen: Collection[str] | None = None) -> tuple[MutationResult, ...]:
        """Check copies of the file that were broken on purpose.

        Args:
            chosen: names of mutations; None for all.
        """
        results = []
        subject = Subject(
            self._path,
            self.artifact,
            self._network,
            self._rewritten,
            self._feed,
            self._export,
            self._emulation,
        )
        with writing.temporary() as folder:
            path = folder / self._path.name
            for mutant in formats.mutants(self.artifact.format)(subject):
                if chosen is not None and mutant.name not in chosen:
                    continue
                self._step(f"{mutant.name} in {mutant.module}")
                results.append(self._mutation(mutant, path))
        return tuple(results)

    def _mutation(self, mutant: Mutant, path: Path) -> MutationResult:
        """Write a broken copy to a path and check it."""
        seen: dict[str, str] = {}
        try:
            mutant.write(path)
            parity = self._check(
                path, modules=True, alter=mutant.alter, watch=functools.partial(_note, seen)
            )
        except MvdeployError as error:  # the exporter or the engine does not take it
            return MutationResult(mutant.name, mutant.module, True, "", None, error.message)
        first = parity.first_diverging
        other = parity.differing[0].rpartition(".")[0] if parity.differing else ""
        named = first.module if first else other
        same = parity.passed and seen == self._computed
        return MutationResult(
            mutant.name, mutant.module, not parity.passed, named, parity, no_effect=same
        )

    @functools.cached_property
    def _computed(self) -> dict[str, str]:
        """Checksums of what the file itself computes."""
        seen: dict[str, str] = {}
        self._check(self._path, modules=True, watch=functools.partial(_note, seen))
        return seen

    @property
    def _source(self) -> formats.Source:
        """What the file was made of."""
        return origin.source(self.artifact, self._rewritten)

    @property
    def _options(self) -> formats.Options:
        return origin.options(self.artifact)

    def _export(self, alter: formats.Alter, path: Path) -> None:
        """Write the file again, what the format traced changed."""
        formats.write(self._source, self.artifact.format, path, self._options, alter=alter)


def _note(seen: dict[str, str], where: str, tensors: Mapping[str, Array]) -> None:
    """Add checksums of tensors, bit for bit."""
    for name, tensor in tensors.items():
        kind = f"{tensor.dtype}{tensor.shape}".encode()
        seen[f"{where}: {name}"] = hashlib.sha256(kind + tensor.tobytes()).hexdigest()
