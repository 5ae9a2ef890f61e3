"""``mvdeploy eval``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdeploy import links
from mvdeploy.cli import bench_options, completion, link_options, options
from mvdeploy.errors import UsageError
from mvdeploy.text_format import clean, count, percent, signed_percent

if TYPE_CHECKING:
    from mvdeploy.records import Evaluation, ModelSpec

_NAMED = 5
"""Pieces of each kind that are named where all are too many."""

_CONFUSED = 5


@click.command("eval")
@click.argument("subject", metavar="FILE|MODEL", shell_complete=completion.models)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="The data set: a folder of images for each class, a CSV file with path,label, images with "
    "a text file of labels; COCO's instances; a folder of PASCAL VOC.",
)
@click.option(
    "--compare",
    "others",
    multiple=True,
    metavar="FILE|MODEL",
    help="Evaluate this on the same images as well, and say how it differs. Repeat it for several.",
)
@click.option(
    "--class-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Which class a folder or label is: lines 'folder 3', or 'folder name' in order, or JSON. "
    "[default: the sorted names of the folders]",
)
@click.option(
    "--split", default="", metavar="NAME", help="Which part of COCO or PASCAL VOC. [default: val]"
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look at so many images only: always the same, spread over the classes.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 65_536),
    default=1,
    show_default=True,
    help="Threads of the engines on this machine.",
)
@click.option(
    "--without-pytorch", is_flag=True, help="Do not run the PyTorch network of each file beside it."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.csv",
    help="Keep all in a folder, in which an evaluation that was cut short goes on; or write what "
    "is said of each image.",
)
@click.option(
    "--strict", is_flag=True, help="End with status 1 if anything of the data set cannot be used."
)
@link_options.device
@options.network
@bench_options.of_files
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    subject: str,
    others: tuple[str, ...],
    as_json: bool,
    strict: bool,
    **given: Any,
) -> int:
    """Say how often an exported file or a network is right on a data set of images.

    Images that cannot be used are counted and named, and the evaluation goes on.
    """
    from mvdeploy.analysis import evaluated
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline.evaluate import evaluate
    from mvdeploy.pipeline.evaluation import Request
    from mvdeploy.report import wording

    request = Request(
        subjects=_subjects((subject, *others), given),
        data=given["data"],
        device=links.profile(given["device"], given["devices_dir"], given["link_options"]),
        class_map=given["class_map"],
        split=given["split"],
        limit=given["limit"],
        seed=given["seed"],
        threads=given["threads"],
        with_pytorch=not given["without_pytorch"],
        output=given["output"],
        link_options=given["link_options"],
        said=options.read_file_inputs(
            given["shapes"], given["values"], **{name: given[name] for name in options.FEEDING}
        ),
        network=bench_options.network_of_files(given),
        task=given["task"],
        weights=given["weights"],
        model=given["model"],
    )
    with steps() as announce:
        found = evaluate(request, announce)
    for finding in found.findings:
        click.echo(f"Warning: {wording.word(finding).sentence}", err=True)
    if found.changed:
        changed = f"{found.changed} is another than before: the evaluation began anew"
        click.echo(f"Warning: {request.output}: {changed}.", err=True)
    if found.resumed:
        click.echo(f"{count(found.resumed, 'image')} were there already.", err=True)
    body = evaluated.summary(found.evaluation)
    if as_json:
        click.echo(json.dumps(body, indent=1, ensure_ascii=False))
    else:
        for line in _lines(found.evaluation, body):
            click.echo(line)
    return 1 if strict and found.evaluation.left_out else 0


def _subjects(texts: tuple[str, ...], given: Mapping[str, Any]) -> tuple[ModelSpec | Path, ...]:
    """Return what is evaluated; of files alone, --weights and --task are said of these.

    Raises:
        UsageError: one is neither a file nor a model, or cannot be built.
    """
    files = [options.file_argument(text) for text in texts]
    network = dict(given)
    if all(files):
        network |= {"weights": None, "task": None}
        if given["weights_key"] is not None and given["model"] is None:
            raise UsageError(
                "--weights-key is for models, and only files are given.", "Leave it out."
            )
    found = bench_options.subjects(texts, network)
    if len(found) > len(texts):
        raise UsageError(
            "Several --patches or --attention name several networks.",
            "Give each once; other networks go after --compare as exported files.",
        )
    return found


def _lines(evaluation: Evaluation, body: Mapping[str, Any]) -> Iterator[str]:
    from mvdeploy.pipeline.evaluation import NOT_ASKED

    yield _head(evaluation)
    yield from _left_out(body["left_out"])
    for note in body["notes"]:
        yield f"Note: {clean(note)}"
    yield ""
    yield from _table(evaluation, body)
    yield ""
    decode = _per_second(body["decode"])
    yield f"Reading and preparing: {decode} images/s. {body['throughput_note']}"
    for subject in body["subjects"]:
        if subject["random_weights"]:
            yield f"{clean(subject['name'])} is not trained: its accuracy means nothing."
        if subject["not_finite"]:
            lost = count(subject["not_finite"], "image")
            yield (
                f"{clean(subject['name'])}: of {lost} an output is no finite number; they count as "
                "wrong."
            )
        if subject["agreement_unknown"] not in (None, NOT_ASKED):
            reason = clean(subject["agreement_unknown"])
            yield f"{clean(subject['name'])}: agreement with PyTorch is not known ({reason})."
    for pair in body["comparisons"]:
        yield from _pair(pair, evaluation)
    yield from _confused(evaluation)


def _head(evaluation: Evaluation) -> str:
    which = count(evaluation.images, "image")
    if evaluation.images != evaluation.found:
        which = f"{evaluation.images:,} of {count(evaluation.found, 'image')}"
    chosen = f", chosen with seed {evaluation.seed}" if evaluation.limit else ""
    return f"{clean(evaluation.data)}: {which}{chosen} ({evaluation.layout})"


def _left_out(left: Mapping[str, Any]) -> Iterator[str]:
    """Name what could not be used, some of each kind."""
    from mvdeploy import datasets
    from mvdeploy.datasets import Problem

    for kind, number in left["by_kind"].items():
        yield f"Left out: {number:,} × {datasets.KINDS.get(kind, kind)}"
        own = [one for one in left["items"] if one["kind"] == kind]
        for one in own[:_NAMED]:
            problem = Problem(one["kind"], one["what"], one["reason"])
            yield f"  {clean(datasets.sentence(problem))}"
        if len(own) > _NAMED:
            yield f"  and {len(own) - _NAMED:,} more; --json names all"


def _table(evaluation: Evaluation, body: Mapping[str, Any]) -> Iterator[str]:
    metrics = evaluation.subjects[0].metrics
    rows = [
        ("", *(metric.title for metric in metrics), "agrees with PyTorch", "images/s", "by"),
    ]
    for result, subject in zip(evaluation.subjects, body["subjects"], strict=True):
        where = f"{result.engine} on {result.device}" if result.device else result.engine
        rows.append(
            (
                clean(result.name),
                *(_share(subject.get(metric.name)) for metric in metrics),
                _share(subject["agreement"]),
                _per_second(subject["inference"]),
                clean(where),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _share(measure: Mapping[str, Any] | None) -> str:
    if measure is None:
        return "–"
    text = percent(measure["value"], 2)
    if measure["ci"]:
        low, high = (percent(end, 2).removesuffix(" %") for end in measure["ci"])
        text += f" ({low} to {high})"
    return text


def _per_second(rate: Mapping[str, Any]) -> str:
    speed = rate["images_per_second"]
    return f"{speed:.3g}" if speed is not None and speed < 100 else f"{speed or 0:,.0f}"


def _pair(pair: Mapping[str, Any], evaluation: Evaluation) -> Iterator[str]:
    same = pair["agreement"]
    what = "say the same" if same["ci"] else "say the same, on average"
    yield ""
    yield f"{clean(pair['b'])} against {clean(pair['a'])}: they {what} in {_share(same)}"
    for metric in evaluation.subjects[0].metrics:
        found = pair.get(metric.name)
        if found is None:
            continue
        points = signed_percent(found["difference"], 2).replace("%", "points")
        line = f"  {metric.title}: {points}"
        if found["ci"]:
            low, high = (signed_percent(e, 2).removesuffix(" %") for e in found["ci"])
            test = found["mcnemar"]
            line += (
                f" (95 %: {low} to {high}); {clean(pair['b'])} alone is right on "
                f"{test['only_b']:,}, {clean(pair['a'])} alone on {test['only_a']:,}; McNemar's "
                f"exact test: p = {test['p']:.3g}"
            )
        yield line


def _confused(evaluation: Evaluation) -> Iterator[str]:
    """Show what the first subject takes for what most often."""
    first = evaluation.subjects[0]
    if not first.confusions or first.random_weights:
        return

    def name(number: int) -> str:
        if number < 0:
            return "nothing"
        title = evaluation.titles.get(str(number))
        return f"{clean(title)} ({number})" if title else f"class {number}"

    unit = "pixel" if evaluation.task == "segment" else "image"
    yield ""
    yield f"{clean(first.name)} confuses most:"
    for one in first.confusions[:_CONFUSED]:
        yield f"  {name(one.truth)} → {name(one.said)}: {count(one.count, unit)}"
