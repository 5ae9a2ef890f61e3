"""What folding BatchNorm gives on each engine: the same network with and without it, paired.

    python benchmarks/folding.py [--model mobilevit_xxs] [--seconds 60]

Both exports take turns, inference by inference, in sessions made anew in both orders. ONNX's
exporter folds BatchNorm by itself; its row shows that there is nothing left to gain.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.common import exported, silent
from mvdeploy import devices, formats, links, models, passes
from mvdeploy.records import Plan
from mvdeploy.stats.paired import choose_clock, ratio
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilevit_xxs")
    parser.add_argument("--seconds", type=float, default=60.0, help="of turns at most")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    plan = Plan(threads=arguments.threads, pairs_only=True, max_time_s=arguments.seconds, groups=10)
    clock = choose_clock(plan.threads).clock
    with tempfile.TemporaryDirectory() as name, links.get(devices.get("host")) as link:
        folder = Path(name)
        for format_name in formats.names():
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
    formulation = formats.formulation(format_name, formats.DEFAULTS) or passes.PLAIN
    first, *others = passes.FORMULATIONS[formulation]
    assert first == "fold_batchnorm"
    suffix = formats.suffix(format_name)
    return [
        exported(spec, network, format_name, folder / f"{label}{suffix}", (*names, *others))
        for label, names in (("unfolded", ()), ("folded", (first,)))
    ]


if __name__ == "__main__":
    main()
