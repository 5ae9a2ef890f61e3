"""Shares that are known, against those of profiles as they are, and corrected.

    python -m benchmarks.profiler_cost [--formats onnx executorch …] [--seconds 10]

Each network is the same convolutions and then so many small linear layers. What an inference takes
longer than one without any of these, without a profiler, is the layers' share: no profile is needed
for it. The table in ``profiler_cost.csv`` has it beside the shares that profiles give, as they are
and corrected, which is what `mvdeploy bench` prints.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mvdeploy import devices, models
from mvdeploy.analysis.cases import CaseView
from mvdeploy.pipeline import bench
from mvdeploy.pipeline.report import view
from mvdeploy.records import Plan

TABLE = Path(__file__).with_suffix(".csv")

_NUMBERS = ("true", "as_profiled", "corrected", "added_us")

LAYERS = (0, 20, 40, 80, 160)

NETWORK = """
import torch
from torch import nn
from mvdeploy.records import Category


class Convolutions(nn.Sequential):
    category = Category.CONVOLUTION


class Linears(nn.Sequential):
    category = Category.FFN


class Net(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.convolutions = Convolutions(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
        )
        self.linears = Linears(*(nn.Linear(32, 32) for _ in range(layers)))
        for linear in self.linears:  # so that they neither drown the signal nor make it louder
            nn.init.orthogonal_(linear.weight)

    def forward(self, x):
        return self.linears(self.convolutions(x).mean(dim=(2, 3)))


"""


@dataclasses.dataclass(frozen=True)
class Row:
    """The linear layers' share of one network's latency.

    Attributes:
        engine: that ran it.
        layers: how many there are.
        true: from latencies without a profiler.
        as_profiled: from the profile as it is.
        corrected: from the profile without what the profiler adds, and with what it leaves out.
        added_us: what the profiler adds to an operator, µs; negative for what it leaves out.
    """

    engine: str
    layers: int
    true: float
    as_profiled: float
    corrected: float
    added_us: float


def rows() -> list[Row]:
    """Return the committed table."""
    with TABLE.open(newline="") as file:
        return [
            Row(r["engine"], int(r["layers"]), *(float(r[name]) for name in _NUMBERS))
            for r in csv.DictReader(file)
        ]


def markdown(found: list[Row]) -> str:
    """Return a table as docs/measurement.md has it."""
    lines = [
        "| engine | linear layers | true share | as profiled | corrected | too much, µs each |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        shares = (row.true, row.as_profiled, row.corrected)
        cells = (row.engine, str(row.layers), *(f"{100 * s:.1f} %" for s in shares))
        lines.append(f"| {' | '.join(cells)} | {row.added_us:.2f} |".replace("| -", "| −"))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formats", nargs="+", default=["onnx", "executorch", "litert"])
    parser.add_argument("--seconds", type=float, default=10.0, help="of turns for each pair")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = [
            row
            for format_name in arguments.formats
            for row in measured(format_name, Path(name), arguments.seconds)
        ]
    with TABLE.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(Row))
        table.writerows(
            [f"{v:.4f}" if isinstance(v, float) else v for v in dataclasses.astuple(row)]
            for row in found
        )
    print(markdown(rows()))


def measured(format_name: str, folder: Path, seconds: float) -> Iterator[Row]:
    """Measure all networks in turns."""
    source = folder / "nets.py"
    makers = (f"def layers_{n}():\n    return Net({n})\n" for n in LAYERS)
    source.write_text(NETWORK + "\n\n".join(makers))
    specs = tuple(
        dataclasses.replace(models.make_spec(f"{source}:layers_{n}"), image_size=(64, 64))
        for n in LAYERS
    )
    plan = Plan(threads=1, profiler_cost=True, max_time_s=seconds)
    request = bench.Request(specs, (format_name,), devices.get("host"), plan, folder / "runs")
    found = view(bench.run(request).folder)
    assert not [case.reason for case in found.cases if case.reason]
    first, *others = found.cases
    for comparison, case, layers in zip(found.comparisons, others, LAYERS[1:], strict=True):
        assert comparison.a is first and comparison.b is case and comparison.estimate
        assert case.breakdown and case.breakdown.excess
        yield Row(
            case.case.engine,
            layers,
            1 - 1 / comparison.estimate.ratio,
            *shares(case),
            case.breakdown.excess.subtracted_ns / 1e3,
        )


def shares(case: CaseView) -> tuple[float, float]:
    """Return the linear layers' share as profiled, and corrected."""
    assert case.breakdown
    (part,) = (p for p in case.breakdown.parts if p.key == "ffn")
    return part.share if part.as_profiled is None else part.as_profiled, part.share


if __name__ == "__main__":
    main()
