"""ONNX Runtime's own operators against the standard's, and its threads in each setting.

    python -m benchmarks.onnx_fast [--seconds 20] [--table FILE] [--show]

Programs: MobileViT in three sizes and two patch configurations, exported with the operators of
the standard and as 'mvdeploy bench' exports them, MobileViT-S also in the other precisions; each
against our fp32 file with the operators of the standard. Settings: MobileViT-S with two threads
that spin or not, pinned or not, and with one thread, on this machine as it is and beside a process
that keeps one core busy. All sessions of one network are open at once and take turns in random
order in one process. Ratios are those of the 5th and the 50th percentile: of CPU time with one
thread, of wall time in the table of settings. What stands in the table is not measured again, so
that it can be stopped and started; ``--show`` prints it as docs/performance.md has it.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import busy, photograph
from mvdeploy import engines, formats, models
from mvdeploy.engines import SessionRequest
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import ModelSpec
from mvdeploy.records.spec import parse_patches

TABLE = Path(__file__).with_suffix(".csv")
STANDARD, OWN = "standard", "onnxruntime"

FP32 = ("fp32 standard", "fp32 onnxruntime")
PROGRAMS = {
    ("mobilevit_xxs", "2,2,2"): FP32,
    ("mobilevit_xs", "2,2,2"): FP32,
    ("mobilevit_xxs", "8,4,2"): FP32,
    ("mobilevit_xs", "8,4,2"): FP32,
    ("mobilevit_s", "8,4,2"): FP32,
    ("mobilevit_s", "2,2,2"): (
        *(*FP32, "fp16 standard", "fp16 onnxruntime", "int8-dynamic onnxruntime"),
        *("int8 standard", "int8 onnxruntime", "int8-fast onnxruntime"),
    ),
}
"""Network and patches → precisions and operators, the reference first."""

SETTINGS = {
    "2 threads": (2, {}),
    "2 threads, no spinning": (2, {"spinning": "off"}),
    "2 threads, pinned": (2, {"placement": "pinned"}),
    "2 threads, no spinning, pinned": (2, {"spinning": "off", "placement": "pinned"}),
    "1 thread": (1, {}),
}
"""Title → threads and options of the engine; the first is what the others are compared with."""

BESIDE = ("nothing else of ours", "one busy core")


class Row(NamedTuple):
    """A line of the table."""

    part: str
    case: str
    variant: str
    runs: str
    p5: str
    p50: str


Key = tuple[str, str, str]


def expected() -> list[Key]:
    """Return the part, case and variant of every line."""
    programs = [
        ("programs", f"{name} {patches}", variant)
        for (name, patches), variants in PROGRAMS.items()
        for variant in variants
    ]
    settings = [("settings", beside, title) for beside in BESIDE for title in SETTINGS]
    return programs + settings


def read(table: Path = TABLE) -> dict[Key, Row]:
    """Return what was measured."""
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        rows = [Row(**line) for line in csv.DictReader(file)]
    return {row[:3]: row for row in rows}


def add(table: Path, rows: list[Row]) -> None:
    """Put lines into the table, in the order of `expected`."""
    known = read(table) | {row[:3]: row for row in rows}
    part = table.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Row._fields, *(known[key] for key in expected() if key in known)])
    part.replace(table)


def exported(builder: Builder, variant: str, folder: Path) -> Path:
    """Export a program, verified."""
    precision, operators = variant.split()
    path = folder / f"{precision}-{operators}.onnx"
    options = formats.options("onnx", {"operators": operators}, precision=precision)
    builder.export("onnx", path, options)
    return path


Call = Callable[[], object]


def opened(path: Path, image: Path, threads: int, chosen: Mapping[str, str]) -> Call:
    """Return what runs one inference in a session of its own."""
    feed = {"image": np.load(image)}
    request = SessionRequest(path, feed, threads=threads, options=chosen)
    infer: Call = engines.get("onnxruntime").open_session(request).infer
    return infer


def ratios(
    calls: Mapping[str, Call], clock: Callable[[], int], seconds: float
) -> Iterator[tuple[str, int, float, float]]:
    """Let calls take turns; yield title, runs, and ratios of percentiles 5 and 50 to the first."""
    times: dict[str, list[int]] = {title: [] for title in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    turns, end = list(calls), time.monotonic() + seconds * len(calls)
    chance = random.Random(0)
    while time.monotonic() < end:
        chance.shuffle(turns)
        for title in turns:
            began = clock()
            calls[title]()
            times[title].append(clock() - began)
    reference = np.percentile(times[next(iter(calls))], (5, 50))
    for title, found in times.items():
        low, middle = np.percentile(found, (5, 50)) / reference
        yield title, len(found), float(low), float(middle)


def rows(
    part: str, case: str, calls: Mapping[str, Call], clock: Callable[[], int], seconds: float
) -> list[Row]:
    """Measure, and print what is found."""
    made = []
    for title, runs, low, middle in ratios(calls, clock, seconds):
        made.append(Row(part, case, title, str(runs), f"{low:.3f}", f"{middle:.3f}"))
        print(*made[-1], flush=True)
    return made


def measure_programs(table: Path, seconds: float) -> None:
    """Measure what is missing of the first part."""
    for (name, patches), variants in PROGRAMS.items():
        case = f"{name} {patches}"
        if all(("programs", case, variant) in read(table) for variant in variants):
            continue
        spec = models.make_spec(name, patches=parse_patches(patches))
        with tempfile.TemporaryDirectory() as place:
            folder, builder = Path(place), Builder(spec)
            image = photograph(spec, folder)
            calls = {
                variant: opened(exported(builder, variant, folder), image, 1, {})
                for variant in variants
            }
            add(table, rows("programs", case, calls, time.process_time_ns, seconds))


def measure_settings(table: Path, seconds: float) -> None:
    """Measure what is missing of the second part."""
    missing = [b for b in BESIDE if any(("settings", b, t) not in read(table) for t in SETTINGS)]
    if not missing:
        return
    spec: ModelSpec = models.make_spec("mobilevit_s")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path, image = exported(Builder(spec), f"fp32 {OWN}", folder), photograph(spec, folder)
        calls = {title: opened(path, image, *chosen) for title, chosen in SETTINGS.items()}
        for beside in missing:
            with busy(int(beside != BESIDE[0])):
                found = rows("settings", beside, calls, time.perf_counter_ns, seconds)
            add(table, found)


def shown(table: Path = TABLE) -> Iterator[str]:
    """Yield the lines of the table for the documentation."""
    known = read(table)
    for part, heading in (("programs", "network"), ("settings", "beside")):
        yield f"| {heading} | variant | runs | ratio, 5th percentile | 50th |"
        yield "|---|---|---|---|---|"
        for row in (known[key] for key in expected() if key in known and key[0] == part):
            yield f"| {' | '.join(row[1:])} |"
        yield ""


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of turns for each program")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--show", action="store_true", help="print the table alone")
    asked = parser.parse_args()
    if not asked.show:
        measure_programs(asked.table, asked.seconds)
        measure_settings(asked.table, asked.seconds)
    print("\n".join(shown(asked.table)))


if __name__ == "__main__":
    main()
