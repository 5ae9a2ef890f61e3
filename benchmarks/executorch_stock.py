"""ExecuTorch: our export against the stock recipe on the network as other libraries write it.

    python benchmarks/executorch_stock.py [--model mobilevit_s] [--seconds 60] [--json FILE]

The same architecture, as timm and as transformers write it, is lowered with the recipe of
ExecuTorch's documentation: torch.export, to_edge_transform_and_lower with the XNNPACK partitioner.
Ours is what 'mvdeploy export --format executorch' writes. Each pair takes turns, as in
'mvdeploy compare', with one thread and with two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

from benchmarks.common import case, photograph, silent
from mvdeploy import devices, links, models
from mvdeploy.models import zoo
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import PairGroup, Plan, Warmup
from mvdeploy.stats.paired import TARGETS, clock_of, ratio
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import measure

WARMUP = Warmup(min_seconds=0.1, window_seconds=0.05, max_seconds=2.0)
SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilevit_s")
    parser.add_argument("--seconds", type=float, default=60.0, help="of turns for each pair")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, links.get(devices.get("host")) as link:
        folder = Path(name)
        ours = export_ours(arguments.model, folder)
        for library in ("timm", "transformers"):
            stock = export_stock(library, arguments.model, folder)
            for threads in arguments.threads:
                plan = Plan(
                    threads=threads,
                    warmup=WARMUP,
                    pairs_only=True,
                    max_time_s=arguments.seconds,
                )
                (comparison,) = measure([stock, ours], link, plan, silent())
                clock = clock_of(comparison.groups, threads).clock
                found = ratio(comparison.groups, clock)
                enough = "" if found.half_width <= TARGETS[clock] else ", wider than its target"
                print(
                    f"{threads} thread(s): ours ÷ {library} = {found.ratio:.3f} "
                    f"(95 % {found.low:.3f}-{found.high:.3f}, {clock} time, "
                    f"{found.groups} groups{enough}); medians {median(comparison.groups, 'b'):.2f} "
                    f"and {median(comparison.groups, 'a'):.2f} ms of wall time",
                    flush=True,
                )
                figures.append(
                    {
                        "library": library,
                        "threads": threads,
                        "ratio": found.ratio,
                        "low": found.low,
                        "high": found.high,
                        "clock": clock,
                        "groups": found.groups,
                    }
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def median(groups: Sequence[PairGroup], side: str) -> float:
    """Return the median of one side's wall times, in milliseconds."""
    return statistics.median(ns for g in groups for ns in getattr(g, side).wall_ns) / 1e6


def export_ours(model: str, folder: Path) -> Entry:
    spec = models.make_spec(model, image_size=(SIZE, SIZE))
    path = folder / "ours.pte"
    began = time.monotonic()
    artifact = Builder(spec).export("executorch", path).artifact
    found = artifact.delegation
    if found is not None:
        said = f"{found.delegates} delegate(s), {sum(u.count for u in found.undelegated)}"
        print(f"ours: {said} undelegated, {time.monotonic() - began:.0f} s with verification")
    return case(path, "executorch", artifact.inputs[0].name, photograph(spec, folder))


def export_stock(library: str, model: str, folder: Path) -> Entry:
    network = (timm_network if library == "timm" else transformers_network)(model)
    began = time.monotonic()
    program = torch.export.export(network, (torch.zeros(1, 3, SIZE, SIZE),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    found = get_delegation_info(lowered.exported_program().graph_module)
    path = folder / f"{library}.pte"
    path.write_bytes(lowered.to_executorch().buffer)
    print(
        f"{library}: {found.num_delegated_subgraphs} delegates, {found.num_non_delegated_nodes} "
        f"undelegated, {time.monotonic() - began:.0f} s"
    )
    image = photograph(models.make_spec(model, image_size=(SIZE, SIZE)), folder)
    return case(path, "executorch", "x", image)


def timm_network(model: str) -> nn.Module:
    network: nn.Module = zoo.load("timm").create_model(model, pretrained=False)
    return network.eval()


class _Logits(nn.Module):
    """Gives a classifier of transformers a tensor as its output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def transformers_network(model: str) -> nn.Module:
    library = zoo.load("transformers")
    sizes = {
        "mobilevit_xxs": {
            "hidden_sizes": [64, 80, 96],
            "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320],
            "expand_ratio": 2.0,
        },
        "mobilevit_xs": {
            "hidden_sizes": [96, 120, 144],
            "neck_hidden_sizes": [16, 32, 48, 64, 80, 96, 384],
        },
        "mobilevit_s": {},
    }
    config = library.MobileViTConfig(num_labels=1000, **sizes[model])
    return _Logits(library.MobileViTForImageClassification(config)).eval()


if __name__ == "__main__":
    main()
