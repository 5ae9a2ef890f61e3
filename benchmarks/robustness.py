"""What comes of damaged files, of kills and of full disks: the table of docs/robustness.md.

    python -m benchmarks.robustness [--shard 0/2] [--minutes 60] [--readers NAME ...] [--no-kills]

Damages files of every kind that mvdeploy reads, runs a command on each in a process of its own, and
adds a row for each to robustness.csv beside this file; then it ends commands at random moments and
gives them disks that are too small. What stands in the table already is not done again, so it can
be stopped and started. Shards share the work and the table: start ``--shard 0/2`` and ``--shard
1/2`` at the same time. ``--show`` prints the table as the document has it; ``--failed`` lists what
must not be.
"""

from __future__ import annotations

import argparse
import collections
import csv
import fcntl
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.robustness import kills, outcomes, readers, workshop
from tests.robustness.campaign import Row, Subject
from tests.robustness.kills import Place, Work
from tests.robustness.readers import Reader
from tests.warm import Server

TABLE = Path(__file__).with_name("robustness.csv")
FIELDS = ("reader", "damage", "outcome", "said")
KILLS = 10
"""How often each command gets each signal."""
CRAMPED = 2
"""How often each command gets each size of disk, and of files."""

Key = tuple[str, str]
Task = tuple[Key, Callable[[], Row]]


def main() -> None:
    """Fill the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="0/1", help="which part of how many, as in 0/2")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--readers", nargs="+", default=[r.name for r in readers.READERS])
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--failed", action="store_true")
    chosen = parser.parse_args()
    if chosen.show:
        print(markdown(rows()))
    elif chosen.failed:
        for row in failed(rows()):
            print(row["reader"], row["damage"], row["outcome"], row["said"], sep=" | ")
    else:
        shard, shards = map(int, chosen.shard.split("/"))
        fill(shard, shards, chosen.minutes, chosen.readers, not chosen.no_kills)


def fill(shard: int, shards: int, minutes: float, names: Sequence[str], kill: bool) -> None:
    """Do what is missing in the table, as far as the time goes."""
    until = time.monotonic() + 60 * minutes
    known = {(row["reader"], row["damage"]) for row in rows()}
    # Forks read these files again and again.
    shm = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp") as place,
        tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as scratch,
    ):
        os.environ["XDG_RUNTIME_DIR"] = place
        server, home = Server(Path(place)), Path(scratch)
        try:
            made = workshop.build(server, home / "workshop")
            tasks = _damages(server, made, home, names)
            if kill:
                tasks = itertools.chain(tasks, _kills(server, made, home))
            for number, ((reader, damage), task) in enumerate(tasks):
                if number % shards != shard or (reader, damage) in known:
                    continue
                if time.monotonic() > until:
                    return
                _add(task())
        finally:
            server.close()


def _damages(server: Server, made: Path, home: Path, names: Sequence[str]) -> Iterator[Task]:
    for reader in map(readers.find, names):
        yield from _of_reader(reader, server, made, home / f"subject-{reader.name}")


def _of_reader(reader: Reader, server: Server, made: Path, folder: Path) -> Iterator[Task]:
    print(reader.name, flush=True)
    subject = Subject(reader, server, made, folder)
    for damage in itertools.islice(subject.names(), reader.share):
        yield (reader.name, damage), lambda damage=damage: subject.row(damage)


def _kills(server: Server, made: Path, home: Path) -> Iterator[Task]:
    for work in kills.WORKS:
        print(work.name, flush=True)
        yield from _of_work(work, Place(work, server, made, home / "place"))


def _of_work(work: Work, place: Place) -> Iterator[Task]:
    for number, name in itertools.product(range(KILLS), kills.SIGNALS):
        key = (f"killed: {work.name}", f"{name}-{number}")
        yield key, lambda number=number, name=name: place.killed(number, name)
    for number, size in itertools.product(range(CRAMPED), kills.SIZES):
        for disk in (True, False) if kills.may_mount() else (False,):
            kind = "disk" if disk else "limit"
            key = (f"{kind}: {work.name}", f"{size}-{number}")
            yield key, lambda a=(size, number), disk=disk: place.cramped(*a, disk=disk)


def rows() -> list[dict[str, str]]:
    """Return what was found."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _add(row: Row) -> None:
    """Add a row to the table, which other processes write to as well."""
    said = row.said if row.outcome in outcomes.FORBIDDEN else ""
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.writer(file, lineterminator="\n")
        if not os.fstat(file.fileno()).st_size:
            writer.writerow(FIELDS)
        writer.writerow((row.reader, row.damage, row.outcome, said))


def failed(found: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows that must not be."""
    return [row for row in found if row["outcome"] not in outcomes.GOOD]


def is_damage(row: dict[str, str]) -> bool:
    """Say whether a row is of a damaged file, not of a kill or a full disk."""
    return ": " not in row["reader"]


def is_kill(row: dict[str, str]) -> bool:
    """Say whether a row is of a kill."""
    return row["reader"].startswith("killed: ")


def markdown(found: Sequence[dict[str, str]]) -> str:
    """Return the table of the document: a row for each reader, a column for each good outcome.

    All others are one column, as none of them may be.
    """
    titles = ("what", "tried", *outcomes.GOOD, "failed")
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    counts: dict[str, collections.Counter[str]] = {}
    for row in found:
        counts.setdefault(row["reader"], collections.Counter())[row["outcome"]] += 1
    order = [*(r.name for r in readers.READERS), *sorted(counts)]
    lines += [_line(name, counts[name]) for name in dict.fromkeys(order) if name in counts]
    lines.append(_line("**all**", sum(counts.values(), collections.Counter())))
    return "\n".join(lines)


def _line(name: str, count: collections.Counter[str]) -> str:
    good = [count[outcome] for outcome in outcomes.GOOD]
    return f"| {' | '.join((name, *map(str, (count.total(), *good, count.total() - sum(good)))))} |"


if __name__ == "__main__":
    main()
