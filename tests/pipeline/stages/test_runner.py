"""The stages of a pipeline give the answer of the file: on real engines, in this process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdeploy import devices, files, models, tasks
from mvdeploy.models import preprocess
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.predict import predict
from mvdeploy.pipeline.stages import runner, steps
from mvdeploy.records import Artifact, JobModel, Stages, StagesJob, StagesSession, Warmup
from mvdeploy.records.stages import TITLES, decoded_said
from mvdeploy.verify import images, inputs

Timed = Callable[..., tuple[Stages, Any]]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A picture of 160x120 pixels that is turned by its EXIF data."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def job_of(artifact: Artifact, path: Path, engine: str, photograph: Path) -> StagesJob:
    """A job as bench makes it: what the model is fed is what every picture here is prepared by."""
    taken, rule = artifact.spec.inputs, artifact.preprocessing
    whole = inputs.feeds(taken, rule, preprocess.load_images(photograph, taken, rule))
    fed = images.fed(artifact, next(iter(whole.values())))
    placed = {}
    for number, (name, array) in enumerate(fed.items()):
        place = photograph.with_name(f"input-{number}.npy")
        np.save(place, array)
        placed[name] = str(place)
    outputs = tuple(output.name for output in artifact.outputs)
    model = JobModel(engine, str(path), files.sha256(path), placed, outputs=outputs)
    return StagesJob(model, artifact, str(photograph), 1, Warmup(iterations=1), 7, 1.0)


def timed(job: StagesJob) -> Stages:
    found = runner._timed(job)
    names = [field.name for field in dataclasses.fields(StagesSession)]
    session = StagesSession(**{name: found[name] for name in names})
    assert [*session.faults()] == []
    return Stages(
        sessions=(session,),
        said=decoded_said(found["said"]),
        wanted=decoded_said(found["wanted"]),
        difference=found["difference"],
        repeats=found["repeats"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_name", "engine", "task"),
    [
        ("onnx", "onnxruntime", "classify"),
        ("onnx", "onnxruntime", "segment"),
        ("executorch", "executorch", "detect"),
    ],
)
def test_the_answer_is_what_predict_says(
    exported, photograph: Path, format_name: str, engine: str, task: str
) -> None:
    asked = {} if task == "classify" else {"task": task, "patches": "2,2,2", "classes": 6}
    made = exported(format_name, **asked)
    stages = timed(job_of(made.artifact, made.path, engine, photograph))
    (session,) = stages.sessions
    assert [*session.stages] == [*TITLES]
    assert len(session.total_ns) == 7
    assert len(session.plain_ns) == 10
    assert stages.difference == stages.repeats == 0
    assert stages.agrees
    said = predict(made.path, photograph, devices.get("host", ())).answers
    assert said is not None
    assert [one.number for one in stages.said] == [one.number for one in said]
    for one, other in zip(stages.said, said, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-5)
        assert one.box == pytest.approx(other.box, rel=1e-5)


def _with_mean_and_std_swapped(rule: Any) -> Any:
    return dataclasses.replace(rule, mean=rule.std, std=tuple(m + 0.1 for m in rule.mean))


@pytest.mark.parametrize("broken", ["normalise", "channels", "crop"])
def test_pictures_that_are_prepared_otherwise_are_seen(
    exported, photograph: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    made = exported()
    job = job_of(made.artifact, made.path, "onnxruntime", photograph)
    assert timed(job).agrees
    whole, seen = preprocess.normalised, preprocess.pixels
    if broken == "normalise":
        monkeypatch.setattr(
            preprocess, "normalised", lambda p, rule: whole(p, _with_mean_and_std_swapped(rule))
        )
    elif broken == "channels":
        monkeypatch.setattr(preprocess, "normalised", lambda p, rule: whole(p, rule)[:, ::-1])
    else:
        monkeypatch.setattr(preprocess, "pixels", lambda p, rule: np.roll(seen(p, rule), 3, 1))
    stages = timed(job)
    assert stages.difference > 1e-3
    assert not stages.agrees


def test_programs_that_take_pixels_are_given_them_as_they_are(exported, photograph: Path) -> None:
    """The same as what comes of normalising them and going back, which no app does."""
    made = exported()
    rule = made.artifact.preprocessing
    picture = Image.open(photograph).convert("RGB")
    seen = preprocess.pixels(picture, rule)
    for layout, shape in (("NCHW", (1, 3, 96, 96)), ("NHWC", (1, 96, 96, 3))):
        own = dataclasses.replace(
            made.artifact.inputs[0], dtype="uint8", layout=layout, shape=shape
        )
        artifact = dataclasses.replace(made.artifact, inputs=(own,))
        session = SimpleNamespace(feed=None, infer=None)
        prepare = steps.steps(artifact, session, photograph.read_bytes())["normalise"]
        (straight,) = prepare([seen]).values()
        tensor = preprocess.normalised(seen, rule)
        (around,) = images.fed(artifact, {"image": tensor}).values()
        assert straight.dtype == around.dtype == np.uint8
        np.testing.assert_array_equal(straight, around)
        assert straight.flags.c_contiguous


def test_a_file_without_an_image_has_no_pipeline(exported) -> None:
    made = exported()
    assert not steps.unfit(made.artifact)
    (image,) = made.spec.inputs
    numbers = dataclasses.replace(image, name="numbers", shape=(1, 7), layout="")
    for taken, reason in (((numbers,), "takes no image"), ((image, image), "takes several images")):
        spec = dataclasses.replace(made.spec, own_inputs=taken)
        artifact = dataclasses.replace(made.artifact, spec=spec)
        assert reason in steps.unfit(artifact)


def test_a_batch_has_as_many_pictures(photograph: Path, tmp_path: Path) -> None:
    spec = models.make_spec("yardstick", image_size=(32, 48))
    spec = dataclasses.replace(spec, batch=2)
    path = tmp_path / "net.onnx"
    artifact = Builder(spec, photograph).export("onnx", path).artifact
    stages = timed(job_of(artifact, path, "onnxruntime", photograph))
    assert stages.agrees
    assert stages.difference < 1e-6
    assert len(stages.said) == 5
    session = SimpleNamespace(feed=None, infer=None)
    chain = steps.steps(artifact, session, photograph.read_bytes())
    pictures = chain["decode"](None)
    assert len(pictures) == 2
    (fed,) = chain["normalise"](chain["resize"](pictures)).values()
    assert fed.shape == (2, 3, 32, 48)
    logits = np.array([[0.0, 1.0], [3.0, 2.0]], np.float32)
    first, second = chain["finish"]({"logits": logits})
    assert [first[0].number, second[0].number] == [1, 0]


def test_a_task_without_an_answer_has_no_last_stage(exported, photograph: Path) -> None:
    made = exported()
    spec = dataclasses.replace(made.spec, task="tensors", own_outputs=made.artifact.outputs)
    artifact = dataclasses.replace(made.artifact, spec=spec)
    stages = timed(job_of(artifact, made.path, "onnxruntime", photograph))
    assert "finish" not in stages.sessions[0].stages
    assert stages.said == ()
    assert stages.agrees


def test_priors_are_made_once_and_stay_as_they_are() -> None:
    priors = tasks.get("detect").priors  # type: ignore[attr-defined]
    assert priors((96, 96)) is priors((96, 96))
    digest = hashlib.sha256(priors((96, 96)).tobytes()).hexdigest()
    with pytest.raises(ValueError, match="read-only"):
        priors((96, 96))[0] = 0
    assert hashlib.sha256(priors((96, 96)).tobytes()).hexdigest() == digest
