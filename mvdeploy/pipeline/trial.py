"""Files that may end the process that runs them are run once in a process of their own before."""

from __future__ import annotations

from pathlib import Path

from mvdeploy import devices, formats
from mvdeploy.errors import EngineError
from mvdeploy.links import RunnerFailed
from mvdeploy.records import Artifact, Job, JobModel, Warmup

_LIMIT_S = 600.0


def demand_survived(path: Path, artifact: Artifact) -> None:
    """Refuse a file with which its engine does not return, where engines say that this happens.

    What an engine refuses by itself is told where the file is run.

    Raises:
        EngineError: the process that ran it was killed, or did not end.
    """
    from mvdeploy.verify import verifiers

    engine = formats.verifier(artifact.format, artifact.precision)
    if not getattr(verifiers.get(engine), "MAY_CRASH", False):
        return
    try:
        _run(path, artifact, engine)
    except RunnerFailed as failed:
        if any(event["event"] == "error" for event in failed.events):
            return
        how = failed.message.removeprefix("The runner ").rstrip(".")
        raise EngineError(
            f"{verifiers.title(engine)} does not come back from {path}: its process {how}.",
            "Export the model again: the file is damaged, or another version made it.",
        ) from failed


def _run(path: Path, artifact: Artifact, engine: str) -> None:
    import numpy as np

    from mvdeploy import files
    from mvdeploy.files import writing
    from mvdeploy.links.families import host
    from mvdeploy.verify import images, inputs, verifiers

    feed = images.fed(artifact, inputs.seeded(artifact.spec.inputs))
    link = host.connect(devices.get("host"))
    with writing.temporary() as folder:
        placed = {}
        for number, (name, array) in enumerate(feed.items()):
            place = folder / f"{number}.npy"
            np.save(place, array)
            placed[name] = str(place)
        model = JobModel(
            engine,
            str(path.resolve()),
            files.sha256(path),
            placed,
            options=dict(verifiers.options(engine, artifact.precision)),
            outputs=tuple(output.name for output in artifact.outputs),
        )
        try:
            link.run(Job((model,), (), 1, Warmup(iterations=0)), _LIMIT_S)
        finally:
            link.close()
