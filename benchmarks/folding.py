"""What folding BatchNorm gives on each engine: the same network with and without it, paired.

    python benchmarks/folding.py [--model mobilevit_xxs] [--seconds 60]

Both exports take turns, inference by inference, in sessions made anew in both orders. ONNX's
exporter folds BatchNorm by itself; its row shows that there is nothing left to gain.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from mvdeploy import devices, export, models, passes, runtimes, transports
from mvdeploy.bench.measure import Entry, Listener, measure
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records import JobModel, Plan
from mvdeploy.stats.paired import choose_clock, ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilevit_xxs")
    parser.add_argument("--seconds", type=float, default=60.0, help="of turns at most")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    plan = Plan(
        threads=arguments.threads, session_time_s=0.0, max_time_s=arguments.seconds, groups=10
    )
    clock = choose_clock(plan.threads).clock
    with tempfile.TemporaryDirectory() as name, transports.get(devices.get("host")) as link:
        folder = Path(name)
        for format_name in export.names():
            entries = exports(arguments.model, format_name, folder)
            (comparison,) = measure(entries, link, plan, silent())
            found = ratio(comparison.groups, clock)
            print(
                f"{format_name:<12} folded ÷ unfolded = {found.ratio:.3f} "
                f"(95 % {found.low:.3f}-{found.high:.3f}, {clock} time, {found.verdict})"
            )


def exports(model: str, format_name: str, folder: Path) -> list[Entry]:
    """Export the network without and with folding."""
    spec = models.make_spec(model)
    network = models.build(spec)
    rule = models.preprocessing(spec)
    image = load_image(sample_photograph(), rule)
    np.save(folder / "image.npy", image)
    engine = runtimes.for_format(format_name, ("onnxruntime", "pytorch"))
    entries = []
    for label, names in (("unfolded", ()), ("folded", ("fold_batchnorm",))):
        rewritten, reports = passes.apply(network, torch.from_numpy(image), names)
        table, parameters = models.module_table(network), models.parameter_count(network)
        source = export.Source(spec, rewritten, table, parameters, reports, rule)
        path = folder / f"{label}{export.suffix(format_name)}"
        artifact = export.write(source, format_name, path)
        inputs = {artifact.inputs[0].name: str(folder / "image.npy")}
        entries.append(Entry(label, JobModel(engine, str(path), artifact.sha256, inputs)))
    return entries


def silent() -> Listener:
    def failed(slug: str, error: Exception) -> None:
        raise error

    return Listener(lambda *_: None, failed, lambda _: None)


if __name__ == "__main__":
    main()
