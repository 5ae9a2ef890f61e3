"""An exported file and a photograph → what the file says of it, on this machine or on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import engines, formats, links, tasks
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.pipeline import connect, prepare, trial
from mvdeploy.pipeline.evaluation.programs import loaded
from mvdeploy.pipeline.files import demand_runnable, measurable, opened
from mvdeploy.records import Artifact, DeviceProfile, FileInputs, Finding, Job, JobModel, Warmup
from mvdeploy.timing.case import Entry

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    Arrays = Mapping[str, npt.NDArray[Any]]

OnStep = Callable[[str], None]

_LIMIT_S = 600.0
"""Seconds after which a runner that does one inference counts as hung."""

_SMALL = 640
"""Pixels: pictures whose shorter side is less are enlarged before anything is drawn on them."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a file says of a photograph.

    Attributes:
        artifact: the file's manifest.
        photograph: the image.
        engine: what ran the file, with its version.
        device: where, by its title; empty for this machine.
        outputs: arrays by name.
        shown: the first image as the network was fed it, (1, channels, height, width).
        findings: what to know about the file.
    """

    artifact: Artifact
    photograph: Path
    engine: str
    device: str
    outputs: Arrays
    shown: npt.NDArray[Any]
    findings: tuple[Finding, ...] = ()

    @property
    def random_weights(self) -> bool:
        """Whether the network was not trained, so that what it says means nothing."""
        return self.artifact.spec.is_random

    @property
    def answers(self) -> tuple[tasks.Answer, ...] | None:
        """What the outputs say; None where the task does not tell."""
        spec = self.artifact.spec
        return tasks.answers(tasks.get(spec.task), self.outputs, spec)

    def draw(self, name: tasks.Name) -> Image.Image | None:
        """Return the photograph with what the outputs say drawn on it; None if nothing can be.

        Args:
            name: number of a class → what it is called.
        """
        draw = getattr(tasks.get(self.artifact.spec.task), "draw", None)
        if draw is None:
            return None
        picture = self._picture()
        draw(picture, self.outputs, self.artifact.spec, name)
        return picture

    def _picture(self) -> Image.Image:
        """Return what the network sees: the photograph itself where it is fed as a whole."""
        from PIL import Image

        from mvdeploy.models.feeding import pictures
        from mvdeploy.verify import images

        rule = self.artifact.preprocessing
        if rule.fit == "stretch" and rule.resize == rule.crop:
            picture = pictures.read(self.photograph).convert("RGB")
        else:
            seen = images.pixels(self.shown, rule)
            picture = Image.fromarray(seen.squeeze() if seen.shape[-1] == 1 else seen)
            picture = picture.convert("RGB")
        factor = -(-_SMALL // min(picture.size))
        size = (factor * picture.width, factor * picture.height)
        return picture if factor == 1 else picture.resize(size, Image.Resampling.BICUBIC)


def predict(
    path: Path,
    photograph: Path,
    device: DeviceProfile,
    *,
    link_options: Mapping[str, str] | None = None,
    said: FileInputs | None = None,
    on_step: OnStep = lambda _: None,
) -> Prediction:
    """Run a file on a photograph.

    Args:
        path: an exported file, with a manifest or without.
        photograph: an image file.
        device: where; on this machine the file is run by what verifies it.
        link_options: how the device is reached, as `links.get` takes it.
        said: what is said of the inputs of a file.
        on_step: is told what happens.

    Raises:
        UsageError: the file or the photograph cannot be used, or the file takes no images.
        DeviceUnavailable: the device does not answer.
        EngineError: the engine cannot run the file.
    """
    from mvdeploy.models.preprocess import load_images
    from mvdeploy.verify import inputs

    here = device.link == "host"
    file = opened(path, said) if here else measurable(path, said)
    artifact, path = file.artifact, file.path
    taken, rule = artifact.spec.inputs, artifact.preprocessing
    fed = load_images(photograph, taken, rule)
    if not fed:
        raise UsageError(
            f"{path} takes no images.", "Compare its numbers with 'mvdeploy verify' instead."
        )
    feed = next(iter(inputs.feeds(taken, rule, fed).values()))
    if here:
        demand_runnable(path, artifact)
        trial.demand_survived(path, artifact)
        on_step(f"{path.name}: run")
        engine, outputs = _on_host(path, artifact, feed)
    else:
        engine, outputs = _on_device(path, artifact, feed, device, link_options or {}, on_step)
    image = next(iter(fed.values()))[:1]
    title = "" if here else device.title
    return Prediction(artifact, photograph, engine, title, outputs, image, file.findings)


def _on_host(path: Path, artifact: Artifact, feed: Arrays) -> tuple[str, Arrays]:
    from mvdeploy.verify import running, verifiers

    engine = formats.verifier(artifact.format, artifact.precision)
    outputs = running.run_artifact(artifact, path, {"photograph": feed}, engine)
    return verifiers.title(engine), outputs["photograph"]


def _on_device(
    path: Path,
    artifact: Artifact,
    feed: Arrays,
    device: DeviceProfile,
    link_options: Mapping[str, str],
    on_step: OnStep,
) -> tuple[str, Arrays]:
    """Send a file and what it is fed, have it run once, and fetch what came out."""
    import numpy as np

    from mvdeploy.verify import images, running

    engine = engines.for_format(artifact.format, links.engines_of(device))
    link = links.get(device, link_options)
    with writing.temporary() as folder, connect.opened(link, on_step, [engine]):
        files = {}
        for number, (name, array) in enumerate(images.fed(artifact, feed).items()):
            files[name] = folder / f"input-{number}.npy"
            np.save(files[name], array)
        sent, sha256 = prepare.sendable(path, artifact, link, folder / f"whole{path.suffix}")
        places = link.upload((sent, *files.values()))
        model = JobModel(
            engine,
            places[sent],
            sha256,
            {name: places[file] for name, file in files.items()},
            outputs=tuple(output.name for output in artifact.outputs),
            outputs_to=f"{link.scratch()}/outputs",
        )
        on_step(f"{path.name}: run on {device.title}")
        job = Job((model,), (), device.threads, Warmup(iterations=0))
        result = link.run(job, _LIMIT_S)
        ran = result.models[0]
        Entry(path.name, model, prepare.demanded(artifact)).check_outputs(ran)
        outputs = {}
        for number, (name, remote) in enumerate(sorted(ran.output_files.items())):
            local = folder / f"output-{number}.npy"
            link.fetch(remote, local)
            outputs[name] = loaded(local, name)
    if not outputs:
        raise EngineError(
            f"The runner on {device.title} left no outputs.",
            links.mend(device),
        )
    version = result.hello.get("engines", {}).get(engine, "")
    return f"{engine} {version}".strip(), running.numeric(artifact, outputs)
