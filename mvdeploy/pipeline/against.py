"""A file against another, or against a network that it is said to come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import formats, models, precisions
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import trial
from mvdeploy.pipeline.files import Opened, demand_inputs, demand_runnable, of_network, opened
from mvdeploy.records import Artifact, FileInputs, ModelSpec, Parity

if TYPE_CHECKING:
    from mvdeploy.verify.differences import FileComparison
    from mvdeploy.verify.inputs import Feeds

OnStep = Callable[[str], None]


def compare_files(
    path: Path,
    other: Path,
    *,
    photograph: Path | None = None,
    said: FileInputs | None = None,
    on_step: OnStep = lambda _: None,
) -> FileComparison:
    """Run a file and its reference on the same inputs, and compare their outputs.

    Args:
        path: of the file.
        other: of the reference.
        photograph: image to compare on, among other inputs; None for one that is always there.
        said: what is said of their inputs.
        on_step: is told what happens.

    Raises:
        UsageError: one of them cannot be used, or they take or give different things.
        EngineError: one of them cannot be run.
    """
    from mvdeploy.verify import differences, verifiers

    a, b = (_runnable(each, said) for each in (other, path))
    demand_inputs(said, (a, b))
    a, b = _fed_alike(a, b)
    reason = differences.same_inputs(a.artifact, b.artifact)
    if reason:
        raise _incomparable(a.path, b.path, reason)
    feeds = _feeds((a.artifact, b.artifact), photograph)
    results, titles = [], []
    for file in (a, b):
        on_step(f"{file.path.name}: run")
        engine = formats.verifier(file.artifact.format, file.artifact.precision)
        results.append(differences.run(file.artifact, file.path, feeds, engine))
        titles.append(verifiers.title(engine))
    try:
        found = {name: differences.compare(results[0][name], results[1][name]) for name in feeds}
    except ValueError as error:
        raise _incomparable(a.path, b.path, str(error)) from error
    names = [a.artifact.precision, b.artifact.precision]
    least = differences.demanded_db(*names)
    coarser = min(names, key=differences.demanded_db)
    return differences.FileComparison(
        a=a.path.name,
        b=b.path.name,
        engines=(titles[0], titles[1]),
        differences=found,
        least_db=least,
        reason=precisions.get(coarser).title,
    )


def compare_network(
    path: Path,
    network: ModelSpec,
    *,
    photograph: Path | None = None,
    said: FileInputs | None = None,
    on_step: OnStep = lambda _: None,
) -> Parity:
    """Compare the outputs of a file with those of a network.

    Args:
        path: of the file; a manifest is not looked at for what it was made of.
        network: which one; its size and batch are those of the file.
        photograph: see `compare_files`, as are the others.
        said: see above.
        on_step: see above.

    Raises:
        UsageError: the file or the network cannot be used, or they take different things.
        CheckFailed: an output is missing or has another shape.
        EngineError: the file cannot be run.
    """
    from mvdeploy.verify import parity
    from mvdeploy.verify.reference import Yardstick

    on_step(f"{network.label}: build")
    file = _runnable(path, said)
    demand_inputs(said, (file,))
    artifact = of_network(file.artifact, network)
    on_step(f"{path.name}: compare with {network.label}")
    engine = formats.verifier(artifact.format, artifact.precision)
    feeds = _feeds((artifact,), photograph)
    yardstick = Yardstick(artifact, models.build(artifact.spec), feeds)
    return parity.check(yardstick, file.path, engine)


def _runnable(path: Path, said: FileInputs | None) -> Opened:
    file = opened(path, said)
    demand_runnable(path, file.artifact)
    trial.demand_survived(path, file.artifact)
    return file


def _fed_alike(a: Opened, b: Opened) -> tuple[Opened, Opened]:
    """Prepare the images of a file of which nothing is known as those of the other."""
    if a.artifact.spec.model and not b.artifact.spec.model:
        return a, _with_rule(b, a.artifact)
    if b.artifact.spec.model and not a.artifact.spec.model:
        return _with_rule(a, b.artifact), b
    return a, b


def _with_rule(file: Opened, other: Artifact) -> Opened:
    artifact = dataclasses.replace(file.artifact, preprocessing=other.preprocessing)
    return dataclasses.replace(file, artifact=artifact)


def _feeds(artifacts: tuple[Artifact, ...], photograph: Path | None) -> Feeds:
    """Return what all of them can be fed: images of 8 bits, where one takes such."""
    from mvdeploy.models.preprocess import load_images, sample_photograph
    from mvdeploy.verify import images, inputs

    first = artifacts[0]
    taken, rule = first.spec.inputs, first.preprocessing
    pictures = load_images(photograph or sample_photograph(), taken, rule)
    feeds: Feeds = inputs.feeds(taken, rule, pictures)
    for artifact in artifacts:
        if images.takes_images(artifact):
            feeds = {name: images.rounded(artifact, feed) for name, feed in feeds.items()}
    return feeds


def _incomparable(a: Path, b: Path, reason: str) -> UsageError:
    return UsageError(
        f"{b} cannot be compared with {a}: {reason}.",
        "Give two files that take the same inputs and return the same outputs.",
    )
