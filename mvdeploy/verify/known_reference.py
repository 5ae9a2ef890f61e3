"""What a network returns for one inference of a file, as it is kept beside the file.

With it, what a device computed is judged without building the network again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mvdeploy import precisions
from mvdeploy.files import writing
from mvdeploy.records import Artifact
from mvdeploy.verify import images, reference
from mvdeploy.verify.reference import Array, Outputs, Reference, Yardstick

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class KnownReference:
    """What a network returns for one inference of a file; see `Reference`.

    Attributes:
        inputs: what the file is fed, as `digest` has it.
        outputs: by name.
        rounded: by name; None where nothing else is known than `outputs`.
        not_exact: why `outputs` are not in double precision; empty where they are.
    """

    inputs: str
    outputs: Outputs
    rounded: Outputs | None
    not_exact: str = ""

    def reference(
        self, artifact: Artifact, network: Callable[[], nn.Module], inputs: Outputs, name: str
    ) -> Reference:
        """Return it as artifacts are held against it.

        Args:
            artifact: the manifest.
            network: builds the network, for what is not kept.
            inputs: the artifact's input tensors by name, as the artifact is fed.
            name: of the input.
        """

        def plain_sums() -> Mapping[str, Outputs]:
            return reference.with_plain_sums(artifact, network(), inputs, name)

        def summed() -> Mapping[str, Outputs]:
            return reference.with_sums(artifact, network(), inputs, name)

        rounded = None if self.rounded is None else {name: self.rounded}
        known = precisions.judging(artifact).summing is not None
        return Reference(
            {name: self.outputs}, rounded, self.not_exact, plain_sums, summed if known else None
        )

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            NotWritten: it cannot be written.
        """
        arrays = {f"exact {name}": array for name, array in self.outputs.items()}
        arrays |= {f"rounded {name}": array for name, array in (self.rounded or {}).items()}
        arrays["inputs"] = np.array(self.inputs)
        arrays["not exact"] = np.array(self.not_exact)
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        writing.data(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> KnownReference:
        """Read it.

        Raises:
            ValueError, OSError, KeyError: the file is damaged.
        """
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        return cls(
            inputs=str(kept["inputs"]),
            outputs=_of(kept, "exact "),
            rounded=_of(kept, "rounded ") or None,
            not_exact=str(kept["not exact"]),
        )


def _of(kept: Mapping[str, Array], kind: str) -> Outputs:
    return {n.removeprefix(kind): array for n, array in kept.items() if n.startswith(kind)}


def known_of(yardstick: Yardstick) -> KnownReference:
    """Return what is known of the first input of a comparison."""
    artifact, found = yardstick.artifact, yardstick.reference
    name, feed = next(iter(yardstick.feeds.items()))
    rounded = None if found.rounded is None else found.rounded[name]
    inputs = digest(images.fed(artifact, feed))
    return KnownReference(inputs, found.outputs[name], rounded, found.not_exact)


def digest(inputs: Outputs) -> str:
    """Return the sha256 over names, types, shapes and bytes of what a file is fed."""
    digest = hashlib.sha256()
    for name, array in inputs.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
