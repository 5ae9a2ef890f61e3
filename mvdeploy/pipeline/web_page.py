"""Exports → a folder of static files: a page that measures on whatever device it is opened."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import mvdeploy
from mvdeploy import engines, files, formats
from mvdeploy.errors import UsageError, reason
from mvdeploy.files import writing
from mvdeploy.kits import web
from mvdeploy.links.browsing import site
from mvdeploy.pipeline.prepare import input_files, write_inputs
from mvdeploy.records import JobModel, Plan, codec
from mvdeploy.records.web import WebCase, WebEngine, WebPage, WebSession
from mvdeploy.timing import ahead

if TYPE_CHECKING:
    from mvdeploy.pipeline.export import Exported

SESSIONS = 4
"""In which a page measures."""

_JOB = "job.json"
_LARGEST_REFERENCE = 2_000_000
_SIDE, _QUALITY = 640, 85
_KEPT = {
    "index.html": "index.html",
    "serve.py": "serve.py",
    "page.js": "page/page.js",
    "plot.js": "page/plot.js",
    "numbers.js": "page/numbers.js",
    "style.css": "page/style.css",
    "channel.js": "runner/channel.js",
}
"""Files of the page, in the folder ``kept`` of the runner → where they go."""

_NOT_KEPT = ("page.js", "page.html", "channel.js")
"""Files of the runner that need a program behind the page."""

_ANOTHER = "Give the name of a new folder, or of one that '--web' wrote."


def engine_of(format_name: str) -> str:
    """Return the engine of browsers that runs files of a format.

    Raises:
        UsageError: there is none.
    """
    known = {f: name for name in engines.run_by("web") for f in engines.get(name).FORMATS}
    if format_name not in known:
        raise UsageError(
            f"No engine of browsers runs files of the format '{format_name}'.",
            f"Use --format {' or --format '.join(sorted(known, reverse=True))}.",
        )
    return known[format_name]


def check(folder: Path, format_names: Sequence[str], iterations: int) -> None:
    """Refuse what cannot become a page, before anything is exported.

    Raises:
        UsageError: the folder holds something else, the formats are several, no engine of browsers
            runs them, or there are too few inferences.
        DeviceUnavailable: the engine is not here.
    """
    if len({*format_names}) > 1:
        raise UsageError(
            f"A page measures files of one format, not of {' and '.join(format_names)}.",
            "Give one --format; several networks, patches and precisions may share a page.",
        )
    web.find(engine_of(format_names[0]))
    if iterations < SESSIONS:
        raise UsageError(
            f"{iterations} inferences are too few for {SESSIONS} sessions.",
            f"Give --web-iterations {50 * SESSIONS}.",
        )
    place = folder.absolute()
    if place == Path.cwd() or (place.exists() and not place.is_dir()):
        raise UsageError(f"{folder} cannot become the folder of a page.", _ANOTHER)
    if place.is_dir() and any(place.iterdir()) and not _is_page(place):
        raise UsageError(f"{folder} holds something else than a page.", _ANOTHER)


def _is_page(folder: Path) -> bool:
    try:
        codec.load(WebPage, folder / _JOB)
    except UsageError:
        return False
    return True


def write(
    exported: Sequence[Exported],
    folder: Path,
    photograph: Path | None = None,
    iterations: int = 50 * SESSIONS,
    seed: int = 0,
) -> None:
    """Write a page for exports of one format; one that is there is replaced.

    Args:
        exported: the networks, in order; others are compared with the first.
        folder: of the page.
        photograph: what they are fed; None for one that is always there.
        iterations: inferences of each over all sessions, in blocks; as many are in turns.
        seed: of the order in which they take turns.

    Raises:
        UsageError: two of them are called the same.
        NotWritten: the folder cannot be written.
        DeviceUnavailable: the engine is not here.
    """
    from mvdeploy.models.preprocess import sample_photograph

    image = photograph or sample_photograph()
    measured = [one.twin or one for one in exported]
    names = [one.path.name for one in measured]
    if twice := codec.repeated(names):
        raise UsageError(
            f"Two exports are called {min(twice)}.",
            "Give each a page of its own, or leave one out.",
        )
    engine = engine_of(measured[0].artifact.format)
    source, kit = web.find(engine)
    with writing.whole(folder.absolute()) as part:
        (part / "models").mkdir(parents=True)
        _copy_runner(part)
        plugin = engines.web(engine)
        for name in kit.sums:
            if name not in plugin.for_gpu:
                _copy(source / name, part / "engine" / engine / name)
        models = [_model(one, part, image, engine) for one in measured]
        shown = ""
        if any(t.is_image for one in measured for t in one.artifact.spec.inputs):
            shown = "photograph.jpg"
            _write_photograph(image, part / shown)
        options = engines.options(engines.get(engine), 1, models[0].options)
        plan = Plan(
            iterations=iterations,
            sessions=SESSIONS,
            groups=SESSIONS,
            seed=seed,
            profile_iterations=0,
        )
        page = WebPage(
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            mvdeploy=mvdeploy.__version__,
            photograph=shown,
            input=image.name,
            plan=plan,
            engines={
                engine: WebEngine(
                    f"{engine}.js", str(options["provider"]), kit.version, kit.sha256, options
                )
            },
            cases=tuple(_case(one, engine, measured, part) for one in measured),
            probes=ahead.probes(models, plan, "outputs"),
            sessions=tuple(WebSession(*planned) for planned in ahead.sessions(models, plan)),
        )
        codec.save(page, part / _JOB, indent=None)


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def _copy_runner(part: Path) -> None:
    """Write everything that is the same for all pages."""
    home = site.runner()
    for path in (*home.glob("*.js"), *home.glob("engines/*.js")):
        if path.name not in _NOT_KEPT:
            _copy(path, part / "runner" / path.relative_to(home))
    for name, place in _KEPT.items():
        _copy(home / "kept" / name, part / place)
    policy = "Content-Security-Policy"
    own = site.HEADERS[policy].replace("img-src data:", "img-src 'self' data:; style-src 'self'")
    headers = {**site.HEADERS, policy: own, "Cache-Control": "no-cache"}
    lines = [f"  {name}: {value}\n" for name, value in headers.items()]
    writing.fill(part / "_headers", "".join(["/*\n", *lines]).encode())


def _model(one: Exported, part: Path, image: Path, engine: str) -> JobModel:
    """Write a file and its input; return what a runner is told of it."""
    artifact, name = one.artifact, f"models/{one.path.name}"
    if artifact.data:
        formats.get(artifact.format).self_contained(one.path, part / name)
    else:
        _copy(one.path, part / name)
    fed = write_inputs(part, _slug(one), image, artifact)
    inputs = {tensor: path.relative_to(part).as_posix() for tensor, path in fed.items()}
    options = engines.session_options(engine, artifact.precision, {})
    names = tuple(output.name for output in artifact.outputs)
    sha256 = files.sha256(part / name) if artifact.data else artifact.sha256
    return JobModel(engine, name, sha256, inputs, None, options, names)


def _slug(one: Exported) -> str:
    return f"{one.path.stem}-{one.artifact.format}"


def _case(one: Exported, engine: str, all_of_them: Sequence[Exported], part: Path) -> WebCase:
    artifact, spec = one.artifact, one.artifact.spec
    sized = len({other.artifact.spec.image_size for other in all_of_them}) > 1
    emulated = getattr(engines.get(engine), "emulated", lambda _precision, _architecture: "")
    return WebCase(
        slug=_slug(one),
        label=spec.label,
        engine=engine,
        title=engines.title(engine),
        artifact=dataclasses.replace(artifact, sources={}),  # paths of this machine
        parity=one.parity,
        reference=_reference(one, part),
        emulated=emulated(artifact.precision, ""),
        image_size=spec.image_size if sized else None,
        batch=spec.batch if spec.batch > 1 else None,
    )


def _reference(one: Exported, part: Path) -> dict[str, str]:
    """Return what the network makes of the input that the page feeds it, as texts; or nothing."""
    import numpy as np

    from mvdeploy import models
    from mvdeploy.verify.known_reference import digest
    from mvdeploy.verify.threads import one_thread

    artifact, known = one.artifact, one.reference
    fed = {n: np.load(p) for n, p in input_files(part, _slug(one), artifact).items()}
    if known is None or known.inputs != digest(fed):
        return {}
    with writing.temporary() as work:
        known.save(work / "known.npz")
        contents = {"known": (work / "known.npz").read_bytes()}
    # What a reader, who has no network, may need too.
    built = functools.cache(lambda: models.build(artifact.spec))
    reference = known.reference(artifact, built, fed, "input")
    for name, compute in (("plain_sums", reference.plain_sums), ("summed", reference.summed)):
        if compute is None:
            continue
        content = io.BytesIO()
        try:
            with one_thread():
                arrays = compute()["input"]
        except Exception:  # an operator that takes no part in it
            continue
        np.savez(content, **arrays)  # type: ignore[arg-type]
        contents[name] = content.getvalue()
    if sum(map(len, contents.values())) > _LARGEST_REFERENCE:
        return {}
    return {name: base64.b64encode(content).decode() for name, content in contents.items()}


def _write_photograph(image: Path, place: Path) -> None:
    """Write a small copy of a photograph, without what its file says of who took it where.

    Raises:
        UsageError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(image) as opened:
            small = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{image} cannot be read as an image ({reason(error)}).", "Give another --input."
        ) from error
    small.thumbnail((_SIDE, _SIDE))
    small.save(place, "JPEG", quality=_QUALITY)
