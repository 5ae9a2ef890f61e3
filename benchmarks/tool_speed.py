"""What the commands themselves cost: CPU seconds of two checkouts, in turns.

    git worktree add ../before COMMIT
    python -m benchmarks.tool_speed --before ../before [--runs 3] [--only describe]
        [--threads one|default|busy]

Each command runs in a new process, with nothing kept from before; the operating system says what
it took. ``--threads one`` sets OMP_NUM_THREADS=1; by default libraries have as many threads as they
like; ``busy`` is that beside as many processes as there are cores that do nothing but count. Rows
are added to ``benchmarks/tool_speed.csv``, in the place of those of the same command and threads.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import busy

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".csv")
MODEL = "mobilevit_s"
THREADS = ("one", "default", "busy")

COMMANDS: dict[str, tuple[str, ...]] = {
    "export onnx": ("export", MODEL, "--format", "onnx", "-o", "{out}/"),
    "export executorch": ("export", MODEL, "--format", "executorch", "-o", "{out}/"),
    "export coreml": ("export", MODEL, "--format", "coreml", "-o", "{out}/"),
    "describe": ("describe", MODEL),
    "report": ("report", "{run}", "-o", "{out}"),
}
"""By the name that the table has; ``{run}`` is a saved run of four cases."""


class Cost(NamedTuple):
    """What a command took, in the median of its runs.

    Attributes:
        command: one of `COMMANDS`.
        threads: one of `THREADS`.
        runs: of each checkout.
        before_s: CPU seconds.
        after_s: CPU seconds.
        ratio: after ÷ before, in the median of the pairs.
        before_mb: peak memory of its largest process.
        after_mb: likewise.
    """

    command: str
    threads: str
    runs: int
    before_s: float
    after_s: float
    ratio: float
    before_mb: int
    after_mb: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", choices=THREADS, default="default")
    parser.add_argument("--only", choices=tuple(COMMANDS), action="append")
    given = parser.parse_args()
    trees = (given.before.absolute(), ROOT)
    for name in given.only or COMMANDS:
        cost = measured(name, trees, given.runs, given.threads)
        save([cost])
        print(f"{name}: {cost.before_s} s before, {cost.after_s} s after ({cost.ratio})")


def measured(name: str, trees: Sequence[Path], runs: int, threads: str) -> Cost:
    """Run a command of both checkouts in turns."""
    own = {"MVDEPLOY_CACHE_SIZE": "0", **({"OMP_NUM_THREADS": "1"} if threads == "one" else {})}
    taken: list[list[tuple[float, int]]] = [[], []]
    beside = os.cpu_count() or 1 if threads == "busy" else 0
    with tempfile.TemporaryDirectory() as folder, busy(beside):
        run = ROOT / "reports" / "example-host"
        command = [part.format(out=folder, run=run) for part in COMMANDS[name]]
        for _ in range(runs):
            for tree, costs in zip(trees, taken, strict=True):
                costs.append(once(command, tree, Path(folder), own))
    before, after = ([seconds for seconds, _ in costs] for costs in taken)
    megabytes = [max(size for _, size in costs) for costs in taken]
    return Cost(
        name,
        threads,
        runs,
        round(statistics.median(before), 2),
        round(statistics.median(after), 2),
        round(statistics.median(b / a for a, b in zip(before, after, strict=True)), 3),
        *megabytes,
    )


def once(
    command: Sequence[str], tree: Path, folder: Path, own: Mapping[str, str]
) -> tuple[float, int]:
    """Run a command once; return its CPU seconds and the megabytes of its largest process."""
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mvdeploy", *command],
        cwd=folder,  # what lies in it would be imported first
        env={**plain, **own, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} of {tree} ended with {process.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024
    return used.ru_utime + used.ru_stime, used.ru_maxrss * unit // 1_000_000


def costs() -> list[Cost]:
    """Return the rows of the table."""
    kinds = [int, float, float, float, int, int]
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            Cost(row[0], row[1], *(kind(text) for kind, text in zip(kinds, row[2:], strict=True)))
            for row in list(csv.reader(file))[1:]
        ]


def save(new: Sequence[Cost]) -> None:
    """Put rows into the table, in the place of earlier ones."""
    found = {(cost.command, cost.threads): cost for cost in costs()} if TABLE.exists() else {}
    found |= {(cost.command, cost.threads): cost for cost in new}
    order = [(name, threads) for threads in THREADS for name in COMMANDS]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Cost._fields)
        table.writerows(found[key] for key in order if key in found)


def markdown(rows: Sequence[Cost]) -> str:
    """Return the table of docs/performance.md."""
    lines = [
        "| command | threads | before, s | after, s | after ÷ before | before, MB | after, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.command} | {row.threads} | {row.before_s:.1f} | {row.after_s:.1f} | "
        f"{row.ratio:.2f} | {row.before_mb:,} | {row.after_mb:,} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
