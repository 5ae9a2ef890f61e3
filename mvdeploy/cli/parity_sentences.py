"""What a comparison with PyTorch says, in sentences for the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from mvdeploy import precisions
from mvdeploy.records import Artifact, Parity

NAMED = 3
"""Weights that are named."""

FLOATS_DB = 90.0
"""SNR of what is computed in floats is at least this: 8 bits have added nothing there."""

_INSIDE = {
    "file": "inside, {count} tensors of the file were compared",
    "probe": "inside, {count} tensors of a probe were compared: the same network exported once "
    "more, with them as outputs",
    "": "nothing inside was compared",
}
_WEIGHTS = {
    "network": "the weights in the file are the network's",
    "probe": "the weights in the file are the probe's",
    "export": "the weights in the file are those of a second export",
    "": "",
}


def errors(parity: Parity) -> Iterator[str]:
    """Yield how large the error of each output is."""
    for error in parity.errors:
        yield (
            f"Over all inputs, {error.name} has an error of {error.error:.1e} of its size against "
            f"float64, PyTorch in the file's precision {error.rounding:.1e}: {error.ratio:.2g} "
            "times."
        )
    if parity.not_exact:
        yield f"The network does not run in float64 ({parity.not_exact}): this is against float32."


def scope(parity: Parity) -> Iterator[str]:
    """Yield what else was looked at."""
    inside = _INSIDE[parity.inside].format(count=len(parity.modules))
    weights = _WEIGHTS["" if parity.differing else parity.weights]
    yield "; ".join(filter(None, (inside, weights)))


def findings(parity: Parity) -> Iterator[str]:
    """Yield what is wrong inside, and what is less exact than it could be."""
    if parity.differing:
        more = f" and {len(parity.differing) - NAMED} more" if len(parity.differing) > NAMED else ""
        yield f"The file has other values of {', '.join(parity.differing[:NAMED])}{more}."
    first = parity.first_diverging
    if first is not None:
        module = first.module or "the network itself"
        yield f"The first module that departs is {module} (tensor {first.tensor})."
    for loss in parity.losses:
        grown = "is known for it" if loss.ratio is None else f"error {loss.ratio:.0f} times larger"
        module = loss.module or "the network itself"
        yield f"Loses digits on '{loss.input}': {module} ({loss.operator}, {grown})."


def cost(parity: Parity, artifact: Artifact) -> Iterator[str]:
    """Yield what fewer bits have cost, where the file has such."""
    levels = [one.snr_db for one in parity.inputs if one.snr_db is not None]
    whole = artifact.quantized
    if not levels or not (whole or precisions.judging(artifact).compresses):
        return
    said, same = len(parity.inputs), sum(one.agrees for one in parity.inputs)
    if parity.answers is not None:
        said, same = parity.answers.inputs, parity.answers.same
    random = " These weights are random: trained ones tell." if artifact.spec.is_random else ""
    what = "Whole numbers" if whole is not None else f"Its weights in {artifact.precision}"
    yield (
        f"{what} leave an SNR of {statistics.median(levels):.0f} dB on the median input and of "
        f"{min(levels):.0f} dB on the worst; its answer is the network's on {same} of "
        f"{said}.{random}"
    )
    given = whole.calibration if whole is not None else None
    if given is not None:
        own = " Give images that the network is for, with --calibrate DIR." * given.provisional
        yield f"Scales are from {given.images} images ({given.source}), by {given.method}.{own}"
    if parity.inside and whole is not None:
        yield from _costliest(parity)


def _costliest(parity: Parity) -> Iterator[str]:
    """Yield the modules that add most noise, each given what the file gave it."""
    lowest: dict[str, float] = {}
    for module in parity.modules:
        if module.snr_db is not None and module.snr_db < FLOATS_DB:
            known = lowest.get(module.module, module.snr_db)
            lowest[module.module] = min(known, module.snr_db)
    worst = sorted(lowest.items(), key=lambda item: item[1])[:NAMED]
    if worst:
        named = ", ".join(f"{path or '(network)'} {db:.0f} dB" for path, db in worst)
        yield f"Most noise is added by {named}."
