"""Which networks become which formats: the table of ``mvdeploy models --support``.

    python -m benchmarks.support [--shard 0/2] [--networks NAME ...] [--formats NAME ...]

Exports every network of the list at its own image size, with seeded weights, to every format; each
file is verified as ``mvdeploy export`` does. Delegates of ExecuTorch and LiteRT programs are
counted; to ExecuTorch networks are exported twice, the second time as their classes are written
(``--formulation plain``). Adds a row for each to
``mvdeploy/models/support.csv``; what stands there already is not done again, so that it can be
stopped and started, and two shards may run at the same time. ``--latency`` measures, for those
ExecuTorch programs that the rewriting has changed, how long the plain one takes beside it; nothing
else should run then. ``--files DIR`` keeps the ExecuTorch programs, which are not exported again to
be measured. ``--show`` prints the table as docs/support.md has it.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvdeploy import models
from mvdeploy.models import support
from mvdeploy.models.support import AGREES, CANNOT, DIFFERS, Support

TABLE = Path(models.__file__).with_name(support.TABLE)
FORMATS = ("onnx", "executorch", "litert", "coreml")
DELEGATED = ("executorch", "litert")
"""Formats whose programs say which operators are in delegates."""

PLAIN = ("--formulation", "plain")
PAIRED = (
    *("--no-breakdown", "--threads", "1"),
    *("--min-time", "2", "--max-time", "4", "--target", "5"),
)
"""Short: what is wanted is a ratio to some percent, of many networks."""
DEFECT = 70
"""Exit status of mvdeploy where it fails itself."""
TIMEOUT = 1800.0
"""Seconds; a export takes some minutes."""

TASKS = tuple(
    f"{name} {task}"
    for task in ("detect", "segment")
    for name in ("mobilevit_xxs", "mobilevit_xs", "mobilevit_s", "mobilenetv2")
)
LIBRARIES = tuple(
    f"timm:{name}"
    for name in (
        *("mobilevitv2_100", "efficientformer_l1", "efficientformerv2_s0", "tiny_vit_5m_224.in1k"),
        *("efficientvit_b0", "efficientvit_b1", "efficientvit_b2", "efficientvit_b3"),
        *("edgenext_xx_small", "pit_ti_224", "pit_xs_224", "deit_tiny_patch16_224"),
        *("swin_tiny_patch4_window7_224", "crossvit_tiny_240", "convit_tiny", "pvt_v2_b0"),
        *("semnasnet_100", "mobilenetv2_075", "mobilenetv2_100", "mobilenetv3_small_100"),
        *("mobilenetv4_hybrid_medium", "efficientnet_b0", "densenet169", "resnet101"),
        *("seresnet101", "fastvit_sa12", "swiftformer_xs", "repvit_m0_9", "efficientvit_m0"),
    )
)


def main() -> None:
    """Fill the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="0/1", help="which part of how many, as in 0/2")
    parser.add_argument("--networks", nargs="+", default=networks())
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--files", type=Path, help="where ExecuTorch programs are kept")
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    if chosen.show:
        print(markdown(ordered(support.found())))
        return
    if chosen.latency:
        for row in ordered(support.found()):
            if row.network in chosen.networks and _is_changed(row) and not row.plain_latency:
                print(row.network, flush=True)
                _add(timed(row, chosen.files))
        return
    shard, shards = map(int, chosen.shard.split("/"))
    tasks = [(network, name) for network in chosen.networks for name in chosen.formats]
    known = {(row.network, row.format) for row in support.found()}
    for number, task in enumerate(tasks):
        if number % shards == shard and task not in known:
            print(*task, flush=True)
            _add(tried(*task, chosen.files))


def networks() -> tuple[str, ...]:
    """Return what is tried."""
    return (*models.for_use(), *TASKS, *LIBRARIES)


def tried(network: str, format_name: str, files: Path | None = None) -> Support:
    """Export a network, and say what came of it."""
    with _folder(network, format_name, files) as folder:
        made, error, status = _export(folder / "as-usual", network, format_name)
        if status == DEFECT:
            raise SystemExit(f"{network} {format_name}: {error}")
        if made is None:
            return Support(network, format_name, DIFFERS if status == 1 else CANNOT, cause=error)
        verified = made["verified"] or {}
        ratio = verified.get("ratio")
        row = Support(network, format_name, AGREES, ratio="" if ratio is None else f"{ratio:.2g}")
        if format_name not in DELEGATED:
            return row
        delegates, outside = _counts(made)
        row = row._replace(delegates=delegates, outside=outside)
        if format_name != "executorch":
            return row
        plain, _, _ = _export(folder / "plain", network, format_name, *PLAIN)
        if plain is None:
            return row
        delegates, outside = _counts(plain)
        return row._replace(plain_delegates=delegates, plain_outside=outside)


@contextmanager
def _folder(network: str, format_name: str, files: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        if files is None or format_name != "executorch":
            yield Path(folder)
        else:
            yield files / network.replace(":", "-").replace(" ", "-")


def timed(row: Support, files: Path | None = None) -> Support:
    """Measure a program and the plain one in turns."""
    with _folder(row.network, row.format, files) as folder, tempfile.TemporaryDirectory() as runs:
        programs: list[str] = []
        for name, more in (("as-usual", ()), ("plain", PLAIN)):
            if not list((folder / name).glob("*.pte")):
                made, error, _ = _export(folder / name, row.network, row.format, *more)
                if made is None:
                    raise SystemExit(f"{row.network}: {error}")
            programs += map(str, (folder / name).glob("*.pte"))
        _run("bench", *programs, *PAIRED, "-o", runs)
        (table,) = Path(runs).glob("*/comparisons.csv")
        (pair,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    ratio, low, high = (f"{float(pair[name]):.2f}" for name in ("ratio", "low", "high"))
    return row._replace(plain_latency=ratio, plain_low=low, plain_high=high)


def _is_changed(row: Support) -> bool:
    before = (row.plain_delegates, row.plain_outside)
    return bool(row.plain_delegates) and before != (row.delegates, row.outside)


def _counts(made: dict[str, Any]) -> tuple[str, str]:
    delegation = made["delegation"]
    outside = sum(operator["count"] for operator in delegation["undelegated"])
    return str(delegation["delegates"]), str(outside)


def _export(
    folder: Path, network: str, format_name: str, *more: str
) -> tuple[dict[str, Any] | None, str, int | str]:
    """Return the manifest of a file; or else what was said, and the status."""
    name, *task = network.split()
    flags = ("--task", *task) if task else ()
    try:
        done = _run(
            "export", name, "--format", format_name, "--json", *flags, *more, "-o", str(folder)
        )
    except subprocess.TimeoutExpired:
        return None, f"no end in {TIMEOUT:.0f} s", "timeout"
    if done.returncode == 0:
        return json.loads(done.stdout)[0], "", 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    words = said[0].removeprefix("Error: ") if said else f"status {done.returncode}"
    return None, words.replace(str(folder), "").strip(), done.returncode


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "mvdeploy", *command),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def _add(row: Support) -> None:
    """Put a row into the table, in the place of an earlier one; another process writes it too."""
    with TABLE.open("r+", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rows = [Support(**line) for line in csv.DictReader(file)]
        key = (row.network, row.format)
        rows = ordered([*(one for one in rows if (one.network, one.format) != key), row])
        file.seek(0)
        file.truncate()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows((Support._fields, *rows))


def ordered(rows: Sequence[Support]) -> list[Support]:
    """Return the rows in the order of the list."""
    order = {name: number for number, name in enumerate(networks())}

    def key(row: Support) -> tuple[int, str, int]:
        return order.get(row.network, len(order)), row.network, FORMATS.index(row.format)

    return sorted(rows, key=key)


def markdown(rows: Sequence[Support]) -> str:
    """Return the table of the document."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Support]) -> Iterator[str]:
    head, *lines = support.table(rows)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
