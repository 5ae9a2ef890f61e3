"""What a device computed, held against PyTorch on the same input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mvdeploy import engines, links
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError
from mvdeploy.links import Link
from mvdeploy.pipeline import origin
from mvdeploy.pipeline.prepare import input_files
from mvdeploy.pipeline.store import Store
from mvdeploy.records import (
    Artifact,
    Case,
    Finding,
    JobResult,
    Level,
    OutputComparison,
    OutputDifference,
    Parity,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.verify.known_reference import KnownReference
    from mvdeploy.verify.reference import Reference

    Arrays = Mapping[str, npt.NDArray[np.generic]]
    Built = Callable[[], nn.Module]


class _NotJudgedError(Exception):
    """What it takes to judge is not there."""


@contextmanager
def _needed_to_judge() -> Iterator[None]:
    try:
        yield
    except MvdeployError as error:
        raise _NotJudgedError(error.message) from error


class Judge:
    """Fetches what came out of the cases of a run, and judges it like an export.

    Args:
        store: the run.
        link: to the device.
        network: returns the network of a case as it was built.
        emulation: returns what PyTorch runs of a case in whole numbers; None for others.
        known: returns what the network of a case returns, where that is known already.
    """

    def __init__(
        self,
        store: Store,
        link: Link,
        network: Callable[[Case, Artifact], nn.Module],
        emulation: Callable[[Case, Artifact, nn.Module], Emulation | None],
        known: Callable[[Case, Artifact], KnownReference | None] = lambda _, __: None,
    ) -> None:
        self._store, self._link, self._network = store, link, network
        self._emulation, self._known = emulation, known
        self._computed: dict[str, Arrays] = {}
        self._references: dict[tuple[object, ...], tuple[Reference, Built]] = {}

    def __call__(self, slug: str, result: JobResult) -> None:
        """Judge the outputs of a case; a runner that left none is not judged.

        Raises:
            EngineError: they are damaged, or cannot be compared.
        """
        case, files = self._store.case(slug), result.models[0].output_files
        if case.artifact is None or not files:
            return
        outputs = self._fetched(slug, files)
        self._compare(slug, case.artifact, outputs)
        if not case.artifact.spec.model:
            return  # a file whose network is not known
        try:
            parity = self._judged(case, case.artifact, outputs, _engine(case, result))
        except _NotJudgedError as error:
            values: dict[str, str | int | float] = {"case": case.label, "reason": str(error)}
            self._store.found(Finding("device_not_judged", Level.NOTE, values))
        else:
            self._store.update(slug, device_parity=parity)

    def _judged(self, case: Case, artifact: Artifact, outputs: Arrays, engine: str) -> Parity:
        from mvdeploy.verify.parity import compare_outputs

        with _needed_to_judge():
            reference, network = self._reference(case, artifact)
        try:
            where = engines.architecture_of(self._link.profile)
            running = engines.has_running_sums(case.engine, artifact.precision, where)
            parity = compare_outputs(
                artifact, reference, outputs, engine=engine, running_sums=running
            )
        except CheckFailed as error:
            raise EngineError(error.message, error.remedy) from error
        if not parity.passed:
            with _needed_to_judge():
                origin.demand_same_weights(artifact, network(), artifact.spec)
        return parity

    def _compare(self, slug: str, artifact: Artifact, outputs: Arrays) -> None:
        """Compare the outputs of all files with those of the first, if they are by themselves."""
        in_order = {o.name: outputs[o.name] for o in artifact.outputs if o.name in outputs}
        self._computed[slug] = in_order
        if len(self._computed) < 2:
            return
        # Engines come one after the other: a case that was given earlier may be run later.
        first, *others = (c.slug for c in self._store.cases if c.slug in self._computed)
        compared = (self._difference(first, other) for other in others)
        self._store.differing(tuple(filter(None, compared)))

    def _difference(self, first: str, other: str) -> OutputComparison | None:
        from mvdeploy.verify import differences

        a, b = (self._store.case(slug).artifact for slug in (first, other))
        if a is None or b is None or not (a.read_from or b.read_from):
            return None
        reason = differences.same_inputs(a, b)
        found: tuple[OutputDifference, ...] = ()
        if not reason:
            try:
                found = differences.compare(self._computed[first], self._computed[other])
            except ValueError as error:
                reason = str(error)
        return OutputComparison(first, other, found, reason)

    def _fetched(self, slug: str, files: Mapping[str, str]) -> Arrays:
        import numpy as np

        folder = self._store.folder / "cases" / slug / "outputs"
        outputs = {}
        for number, (name, remote) in enumerate(sorted(files.items())):
            local = folder / f"{number}.npy"
            self._link.fetch(remote, local)
            try:
                outputs[name] = np.load(local, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise EngineError(
                    f"The output '{name}' of {slug} came back damaged ({error}).",
                    f"Measure again, and if it stays so: {links.mend(self._link.profile)}",
                ) from error
        return outputs

    def _reference(self, case: Case, artifact: Artifact) -> tuple[Reference, Built]:
        """Return what PyTorch makes of the input that the case is fed, and the network."""
        import numpy as np

        # The input follows from the spec: all cases of one are fed the same.
        weights = artifact.weights_fingerprint
        key: tuple[object, ...] = (artifact.spec, artifact.precision, weights)
        key += (artifact.inputs, artifact.outputs)
        key += (case.slug,) if artifact.quantized is not None else ()
        if key not in self._references:
            files = input_files(self._store.folder, case.slug, artifact)
            inputs = {name: np.load(file) for name, file in files.items()}
            built = functools.cache(functools.partial(self._network, case, artifact))
            self._references[key] = self._found(case, artifact, inputs, built), built
        return self._references[key]

    def _found(self, case: Case, artifact: Artifact, inputs: Arrays, built: Built) -> Reference:
        """Return what PyTorch makes of an input: what is known of it, or else computed now."""
        from mvdeploy.verify.known_reference import digest
        from mvdeploy.verify.reference import reference
        from mvdeploy.verify.threads import one_thread

        known = self._known(case, artifact)
        if known is not None and known.inputs == digest(inputs):
            return known.reference(artifact, built, inputs, "input")
        with one_thread():
            emulation = self._emulation(case, artifact, built())
            return reference(artifact, built(), inputs, "input", emulation)


def _engine(case: Case, result: JobResult) -> str:
    version = result.hello.get("engines", {}).get(case.engine, "")
    return f"{case.engine} {version}".strip()
