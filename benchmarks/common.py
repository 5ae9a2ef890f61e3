"""What the benchmarks share: cases to measure, a listener that says nothing, busy cores."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mvdeploy import formats, models, passes
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records import JobModel, ModelSpec
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import Listener


def photograph(spec: ModelSpec, folder: Path) -> Path:
    """Write the photograph as the network wants it, once in a folder."""
    path = folder / "image.npy"
    if not path.exists():
        np.save(path, load_image(sample_photograph(), models.preprocessing(spec)))
    return path


def exported(
    spec: ModelSpec,
    network: nn.Module,
    format_name: str,
    path: Path,
    names: tuple[str, ...] = passes.ORDER,
) -> Entry:
    """Run these passes, export the outcome, and make a case of it, named as the file is."""
    image = photograph(spec, path.parent)
    rewritten, reports = passes.apply(network, torch.from_numpy(np.load(image)), names)
    source = formats.Source(
        spec,
        rewritten,
        models.with_added(models.module_table(network), rewritten),
        models.parameter_count(network),
        reports,
        models.preprocessing(spec),
    )
    artifact = formats.write(source, format_name, path)
    engine = formats.verifier(format_name)
    return case(path, engine, artifact.inputs[0].name, image)


def case(path: Path, engine: str, input_name: str, image: Path) -> Entry:
    """Make a case of a file, with or without a manifest, named as the file is."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Entry(path.stem, JobModel(engine, str(path), sha256, {input_name: str(image)}))


def silent() -> Listener:
    """Listen to a measurement without a word; a case that fails ends the benchmark."""

    def failed(slug: str, error: Exception) -> None:
        raise error

    return Listener(lambda *_: None, failed, lambda _: None)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep cores busy by as many processes, which do nothing but count."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
