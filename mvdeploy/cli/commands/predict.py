"""``mvdeploy predict``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdeploy import links, tasks
from mvdeploy.cli import link_options, options
from mvdeploy.errors import UsageError
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from mvdeploy.pipeline.predict import Prediction


@click.command("predict")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "photograph",
    type=click.Path(path_type=Path),
    help="The photograph. [default: one that is always there]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="Draw what the file says on the photograph: a .png, .jpg or other picture.",
)
@click.option(
    "--labels",
    "labels_file",
    metavar="FILE",
    help="Names of the classes: a text file with one on each line, or a JSON file with "
    "'id2label'. [default: their numbers]",
)
@link_options.device
@options.file_inputs
@options.feeding
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    artifact: Path,
    photograph: Path | None,
    output: Path | None,
    labels_file: str | None,
    device: str,
    devices_dir: tuple[Path, ...],
    link_options: Mapping[str, str],
    as_json: bool,
    **said: Any,
) -> None:
    """Show what an exported file says of a photograph: classes, boxes or a mask.

    A person then sees whether the export works, on this machine or on a device.
    """
    from mvdeploy.cli.progress import steps
    from mvdeploy.models.preprocess import sample_photograph
    from mvdeploy.pipeline.predict import predict
    from mvdeploy.report import wording

    kind = _kind(output)
    names = _labels(labels_file)
    profile = links.profile(device, devices_dir, link_options)
    with steps() as announce:
        found = predict(
            artifact,
            photograph or sample_photograph(),
            profile,
            link_options=link_options,
            said=options.read_file_inputs(**said),
            on_step=announce,
        )
    for finding in found.findings:
        click.echo(f"Warning: {wording.word(finding).sentence}", err=True)
    name = _Names(names, found)
    if output is not None:
        _draw(found, name, output, kind)
    if as_json:
        click.echo(json.dumps(_json(found, name), indent=1, ensure_ascii=False))
    else:
        for line in _lines(found, name):
            click.echo(line)


class _Names:
    """Number of a class → its label, or the number where there are none.

    Raises:
        UsageError: there are fewer labels than classes.
    """

    def __init__(self, labels: tuple[str, ...], found: Prediction) -> None:
        classes = found.artifact.spec.num_classes
        if labels and found.artifact.spec.model and len(labels) != classes:
            raise UsageError(
                f"There are {len(labels)} labels, but the network has {classes} classes.",
                "Give one label on each line, in the order of the classes.",
            )
        self.labels = labels

    def __call__(self, number: int) -> str:
        return self.labels[number] if number < len(self.labels) else f"class {number}"


def _labels(file: str | None) -> tuple[str, ...]:
    from mvdeploy.formats.coreml import labels

    return labels.read(file) if file is not None else ()


def _kind(output: Path | None) -> str:
    """Return the format of a picture by the end of its name, as Pillow calls it."""
    from PIL import Image

    if output is None:
        return ""
    kind = Image.registered_extensions().get(output.suffix.lower(), "")
    if kind not in Image.SAVE:
        raise UsageError(
            f"{output} is no name of a picture.", "Give one that ends in .png or .jpg after -o."
        )
    return kind


def _draw(found: Prediction, name: tasks.Name, output: Path, kind: str) -> None:
    from mvdeploy.files import writing

    picture = found.draw(name)
    if picture is None:
        raise UsageError(
            f"What {found.artifact.path} returns is not known to mean anything that can be drawn.",
            "Leave out -o.",
        )
    drawn = io.BytesIO()
    picture.save(drawn, format=kind)
    with writing.whole(output, remedy="Give another place with -o.") as part:
        writing.fill(part, drawn.getbuffer())


def _lines(found: Prediction, name: tasks.Name) -> Iterator[str]:
    spec, where = found.artifact.spec, f" on {found.device}" if found.device else ""
    label = f" ({spec.label})" if spec.model else ""
    yield f"{clean(found.artifact.path)}{label} by {found.engine}{where}: {found.photograph.name}"
    if found.random_weights:
        yield f"Random weights (seed {spec.seed}): the answer means nothing."
    yield ""
    answers = found.answers
    if answers is None:
        for output, array in found.outputs.items():
            shape = "x".join(map(str, array.shape)) or "a number"
            low, mean, high = (float(f(array)) for f in (_least, _mean, _most))
            yield f"{clean(output)}  {shape}  {low:.4g} to {high:.4g}, mean {mean:.4g}"
        return
    if not answers:
        yield "Nothing is found."
        return
    rows = [_row(answer, name, spec.image_size) for answer in answers]
    sides = ("left", "top", "right", "bottom") if answers[0].box else ()
    rows.insert(0, ("class", getattr(tasks.get(spec.task), "VALUE", "value"), *sides))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells))
    if sides:
        height, width = spec.image_size
        yield f"\nBoxes are in pixels of the {width}x{height} image that the network is fed."


def _row(answer: tasks.Answer, name: tasks.Name, image_size: tuple[int, int]) -> tuple[str, ...]:
    height, width = image_size
    sizes = (width, height, width, height)
    box = (f"{side * size:.0f}" for side, size in zip(answer.box, sizes, strict=False))
    return (clean(name(answer.number)), f"{answer.value:.1%}", *box)


def _least(array: Any) -> float:
    return float(array.min())


def _mean(array: Any) -> float:
    return float(array.mean())


def _most(array: Any) -> float:
    return float(array.max())


def _json(found: Prediction, name: _Names) -> dict[str, Any]:
    spec = found.artifact.spec
    answers = found.answers
    return {
        "file": found.artifact.path,
        "model": spec.label,
        "task": spec.task,
        "input": str(found.photograph),
        "engine": found.engine,
        "device": found.device or "host",
        "random_weights": found.random_weights,
        "image_size": list(spec.image_size),
        "outputs": {
            output: {"shape": list(a.shape), "min": _least(a), "mean": _mean(a), "max": _most(a)}
            for output, a in found.outputs.items()
        },
        "answers": answers
        and [
            {
                "class": answer.number,
                **({"label": name(answer.number)} if name.labels else {}),
                "value": answer.value,
                **({"box": list(answer.box)} if answer.box else {}),
            }
            for answer in answers
        ],
    }
