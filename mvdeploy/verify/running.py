"""Run an artifact by its engine, on every input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, MvdeployError, reason
from mvdeploy.records import Artifact
from mvdeploy.verify import images, verifiers
from mvdeploy.verify.inputs import Feeds
from mvdeploy.verify.reference import Array, Outputs, compared, existing


def run_artifact(
    artifact: Artifact, path: Path, feeds: Feeds, engine: str
) -> dict[str, dict[str, Array]]:
    """Return the outputs of the artifact, by input."""
    by_input = {}
    first = next(iter(feeds.values()))
    with engine_errors(engine, artifact):
        names = tuple(output.name for output in artifact.outputs)
        options = verifiers.options(engine, artifact.precision)
        request = SessionRequest(path, images.fed(artifact, first), outputs=names, options=options)
        session = verifiers.get(engine).open_session(request)
    for name, feed in feeds.items():
        with engine_errors(engine, artifact):
            session.feed(images.fed(artifact, feed))
            session.infer()
            outputs = session.outputs()
        by_input[name] = numeric(artifact, outputs)
    return by_input


@contextmanager
def engine_errors(engine: str, artifact: Artifact) -> Iterator[None]:
    """Turn whatever an engine raises into an `EngineError`."""
    try:
        yield
    except MvdeployError:
        raise
    except Exception as error:
        raise EngineError(
            f"{engine} cannot run {artifact.path} ({reason(error)}).",
            "Export it again; if it stays so, report the model, the format and the versions.",
        ) from error


def numeric(artifact: Artifact, outputs: Outputs) -> dict[str, Array]:
    """Return the outputs that are compared, as the manifest names them."""
    return {name: np.asarray(existing(name, outputs, artifact.path)) for name in compared(artifact)}
