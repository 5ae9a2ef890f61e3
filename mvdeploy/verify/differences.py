"""Outputs of two files on the same inputs, number by number."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, MvdeployError, reason
from mvdeploy.records import Artifact, OutputDifference
from mvdeploy.verify import images, verifiers
from mvdeploy.verify.inputs import Feeds

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]

LEAST_DB = 66.0
"""SNR that is demanded of two files in single precision: the least exact of 19 trained networks has
78 dB between two sound results."""


def demanded_db(*names: str) -> float:
    """Return the SNR that is demanded of two files: that of the coarser of their precisions."""
    known = map(precisions.get, names)
    # Whose files they are makes no difference here.
    return min((one.foreign or one).min_snr_db or LEAST_DB for one in known)


def same_inputs(a: Artifact, b: Artifact) -> str:
    """Return why two files cannot be fed the same; empty where they can, in the order they take."""
    shapes = [[tensor.shape for tensor in each.spec.inputs] for each in (a, b)]
    if shapes[0] != shapes[1]:
        listed = [", ".join("×".join(map(str, s)) for s in each) or "nothing" for each in shapes]
        return f"they take inputs of different shapes ({listed[0]} and {listed[1]})"
    if a.preprocessing != b.preprocessing and any(tensor.is_image for tensor in a.inputs):
        return "their images are prepared differently"
    ranges = [[(t.dtype, t.values) for t in e.spec.inputs if not t.is_image] for e in (a, b)]
    return "" if ranges[0] == ranges[1] else "their inputs have different types or ranges"


def run(artifact: Artifact, path: Path, feeds: Feeds, engine: str) -> dict[str, dict[str, Array]]:
    """Return the outputs of a file, by feed and name.

    Raises:
        EngineError: the engine cannot run it.
    """
    fed = {name: images.fed(artifact, feed) for name, feed in feeds.items()}
    names = tuple(output.name for output in artifact.outputs)
    outputs = {}
    try:
        first = next(iter(fed.values()))
        options = verifiers.options(engine, artifact.precision)
        request = SessionRequest(path, first, outputs=names, options=options)
        session = verifiers.get(engine).open_session(request)
        for name, feed in fed.items():
            session.feed(feed)
            session.infer()
            outputs[name] = {n: np.asarray(o).copy() for n, o in session.outputs().items()}
    except MvdeployError:
        raise
    except Exception as error:  # whatever an engine says
        raise EngineError(
            f"{engine} cannot run {path} ({reason(error)}).",
            "Give values that it is made for with --values, or try another version of the engine."
            if _made_up(artifact)
            else "Check that this version of the engine runs such files.",
        ) from error
    return outputs


def _made_up(artifact: Artifact) -> bool:
    """Say whether an input is fed values of which it is not known whether it takes them."""
    return any(tensor.values is not None for tensor in artifact.spec.inputs)


def compare(a: Outputs, b: Outputs) -> tuple[OutputDifference, ...]:
    """Compare the outputs of one inference, by name, or in order where names differ.

    Raises:
        ValueError: they are not of the same number and shapes.
    """
    if len(a) != len(b):
        raise ValueError(f"one has {len(a)} outputs, the other {len(b)}")
    by_name = a.keys() == b.keys()
    pairs = [(name, name if by_name else other) for name, other in zip(a, b, strict=True)]
    return tuple(_compare(name, other, a[name], b[other]) for name, other in pairs)


def _compare(name: str, other: str, a: Array, b: Array) -> OutputDifference:
    if a.shape != b.shape:
        raise ValueError(f"the output '{name}' has the shapes {a.shape} and {b.shape}")
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        raise ValueError(f"the output '{name}' is of texts or of other things than numbers")
    one, two = a.astype(np.float64), b.astype(np.float64)
    difference = np.where(one == two, 0.0, one - two)  # the same infinity is the same
    power, noise = float((one**2).sum()), float((difference**2).sum())
    finite = math.isfinite(power) and math.isfinite(noise)
    ratio = power / noise if finite and noise > 0 else math.nan
    same = None
    if one.ndim == 2 and one.shape[-1] > 1 and a.dtype.kind == "f":
        same = float((one.argmax(-1) == two.argmax(-1)).mean())
    return OutputDifference(
        name=name,
        other=other,
        max_abs=float(np.abs(difference).max(initial=0.0)) if finite else None,
        snr_db=10 * math.log10(ratio) if ratio > 0 else None,
        identical=noise == 0,
        same_largest=same,
    )


def pooled(each: Sequence[OutputDifference]) -> float:
    """Return the SNR of one output over several inputs: the mean of its relative noise, in dB.

    Returns:
        Infinity where all are identical, minus infinity where one has no number for it.
    """
    noises = []
    for one in each:
        if one.snr_db is None and not one.identical:
            return -math.inf
        noises.append(0.0 if one.snr_db is None else 10 ** (-one.snr_db / 10))
    mean = sum(noises) / len(noises) if noises else 0.0
    return -10 * math.log10(mean) if mean > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class FileComparison:
    """Two files on several inputs.

    Attributes:
        a: name of the reference.
        b: name of the other.
        engines: what ran them.
        differences: of every output, by the name of the input.
        least_db: SNR that is demanded of each output, over all inputs.
        reason: the coarser of their precisions, in words.
    """

    a: str
    b: str
    engines: tuple[str, str]
    differences: dict[str, tuple[OutputDifference, ...]]
    least_db: float
    reason: str

    @property
    def snr_db(self) -> dict[str, float]:
        """The SNR of every output over all inputs."""
        columns = zip(*self.differences.values(), strict=True)
        return {column[0].name: pooled(column) for column in columns}

    @property
    def passed(self) -> bool:
        """Whether every output is near enough."""
        return all(snr >= self.least_db for snr in self.snr_db.values())
