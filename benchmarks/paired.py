"""Is a paired comparison right on this machine? Equal models, and one that is some 2 % slower.

    python benchmarks/paired.py [--runs 20] [--seconds 13] [--threads 1] [--json FILE]

Each run is what 'mvdeploy compare' does, with its own seed: MobileViT-XXS at 160 against itself
(A/A), and against itself with one more convolution (A/B). Equal models should be called different
in one of twenty runs, the heavier one should be found.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from benchmarks.common import exported, photograph, silent
from mvdeploy import devices, links, models
from mvdeploy.models import macs
from mvdeploy.records import Plan, Warmup
from mvdeploy.stats.paired import RatioEstimate, clock_of, ratio
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import measure

EXTRA = 0.0095  # of the multiply-accumulates; some 2 % of the time, as this convolution is slow
WARMUP = Warmup(min_seconds=0.1, window_seconds=0.05, max_seconds=1.0)


class Heavier(nn.Module):
    """A network with one more convolution, whose result cannot be optimised away.

    Args:
        network: takes (1, 3, 160, 160).
        channels: of the convolution, which has a stride of 4.
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.extra = nn.Conv2d(3, channels, 3, stride=4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits + 1e-3 * self.extra(x).mean(dim=(1, 2, 3)).unsqueeze(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of each kind")
    parser.add_argument("--seconds", type=float, default=13.0, help="of turns in each run, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name, links.get(devices.get("host")) as link:
        plain, heavier, share = exports(Path(name))
        print(f"the heavier model has {100 * share:.2f} % more multiply-accumulates\n")
        found: dict[str, list[tuple[RatioEstimate, float]]] = {"A/A": [], "A/B": []}
        for run in range(arguments.runs):
            for kind, other in (("A/A", plain), ("A/B", heavier)):
                plan = Plan(
                    threads=arguments.threads,
                    warmup=WARMUP,
                    pairs_only=True,
                    max_time_s=arguments.seconds,
                    seed=run,
                )
                pair = [plain, Entry("other", other.model)]
                began = time.monotonic()
                (comparison,) = measure(pair, link, plan, silent())
                seconds = time.monotonic() - began
                clock = clock_of(comparison.groups, plan.threads).clock
                estimate = ratio(comparison.groups, clock)
                found[kind].append((estimate, seconds))
                show(kind, run, estimate, seconds)
    print()
    report = {kind: summary(kind, runs) for kind, runs in found.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), **report}, indent=1))
    rejected = report["A/A"]["called different"]
    sys.exit(0 if rejected <= max(3, 0.15 * arguments.runs) else 1)


def exports(folder: Path) -> tuple[Entry, Entry, float]:
    """Export the network, and the heavier one; say how much more work that is."""
    spec = models.make_spec("mobilevit_xxs", image_size=(160, 160))
    network = models.build(spec)
    x = torch.from_numpy(np.load(photograph(spec, folder)))
    work = macs.observe(network, x).total
    torch.manual_seed(0)
    channels = max(1, round(EXTRA * work / (40 * 40 * 3 * 9)))
    heavier = Heavier(network, channels).eval()
    share = macs.observe(heavier, x).total / work - 1
    entries = [
        exported(spec, module, "onnx", folder / f"{name}.onnx")
        for name, module in (("plain", network), ("heavier", heavier))
    ]
    return entries[0], entries[1], share


def show(kind: str, run: int, estimate: RatioEstimate, seconds: float) -> None:
    print(
        f"{kind} {run:3d}  ratio {estimate.ratio:.4f}  95 % {estimate.low:.4f}-{estimate.high:.4f}"
        f"  {estimate.groups} groups  {seconds:5.1f} s  {estimate.verdict}",
        flush=True,
    )


def summary(kind: str, runs: list[tuple[RatioEstimate, float]]) -> dict[str, float]:
    """Print and return what came out of the runs of one kind."""
    estimates = [estimate for estimate, _ in runs]
    figures = {
        "runs": len(runs),
        "called different": sum(e.verdict != "no difference detected" for e in estimates),
        "called slower": sum(e.verdict == "slower" for e in estimates),
        "median ratio": statistics.median(e.ratio for e in estimates),
        "median |ratio - 1|": statistics.median(abs(e.ratio - 1) for e in estimates),
        "median half width": statistics.median(e.half_width for e in estimates),
        "median seconds": statistics.median(seconds for _, seconds in runs),
        "longest seconds": max(seconds for _, seconds in runs),
    }
    print(kind)
    for name, value in figures.items():
        print(f"  {name:<20} {value:g}" if isinstance(value, int) else f"  {name:<20} {value:.4f}")
    return figures


def machine() -> str:
    cpu = links.get(devices.get("host")).identity()["cpu"]
    load = ", ".join(f"{load:.2f}" for load in psutil.getloadavg())
    return f"{cpu}, {psutil.cpu_count()} cores, {platform.system()}, load {load}"


if __name__ == "__main__":
    main()
