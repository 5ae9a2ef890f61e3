"""How often changes are found in simulated histories, and where: the table of docs/history.md.

Each history is one of runs whose medians differ by 1 % (standard deviation, log-normal).

    python -m benchmarks.change_points
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from mvdeploy.stats import changes

NOISE = 0.01

Series = np.ndarray
Make = Callable[[np.random.Generator], Series]


def series(
    rng: np.random.Generator,
    runs: int = 20,
    steps: dict[int, float] | None = None,
    disturbed: float = 0.0,
    memory: float = 0.0,
) -> Series:
    """Return medians of runs, in milliseconds.

    Args:
        rng: of the noise.
        runs: how many.
        steps: factor on all runs from an index on.
        disturbed: share of runs that take 1.2 of the time.
        memory: correlation of neighbouring runs.
    """
    noise = rng.normal(0, NOISE, runs)
    for i in range(1, runs):
        noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    times = 5 * np.exp(noise)
    for at, factor in (steps or {}).items():
        times[at:] *= factor
    return times * np.where(rng.random(runs) < disturbed, 1.2, 1)


HISTORIES: dict[str, tuple[Make, list[int]]] = {
    "12 equal runs": (lambda rng: series(rng, 12), []),
    "20 equal runs": (lambda rng: series(rng), []),
    "50 equal runs": (lambda rng: series(rng, 50), []),
    "20 equal runs, one in ten disturbed by 20 %": (lambda rng: series(rng, disturbed=0.1), []),
    "20 equal runs, neighbours correlated by 0.3": (lambda rng: series(rng, memory=0.3), []),
    "50 equal runs, neighbours correlated by 0.3": (lambda rng: series(rng, 50, memory=0.3), []),
    **{
        f"20 runs, {step} % slower from the {at + 1}th": (
            lambda rng, at=at, step=step: series(rng, steps={at: 1 + step / 100}),  # type: ignore[misc]
            [at],
        )
        for step, at in ((5, 5), (5, 10), (5, 16), (5, 17), (5, 18), (3, 10), (2, 10), (1, 10))
    },
    "20 runs, 5 % slower from the 11th, one in ten disturbed by 20 %": (
        lambda rng: series(rng, steps={10: 1.05}, disturbed=0.1),
        [10],
    ),
    "40 runs, 5 % slower from the 13th to the 24th": (
        lambda rng: series(rng, 40, {12: 1.05, 24: 1 / 1.05}),
        [12, 24],
    ),
}


def row(name: str, count: int) -> str:
    """Return a row of the table."""
    make, places = HISTORIES[name]
    rng = np.random.default_rng(list(HISTORIES).index(name))
    found = [[change.at for change in changes.find(make(rng).tolist())] for _ in range(count)]
    marked = np.mean([bool(one) for one in found])
    exact = f"{np.mean([one == places for one in found]):.1%}" if places else "–"
    return f"| {name} | {marked:.1%} | {exact} |".replace("%", " %").replace("  %", " %")


def looked_at_each_time(count: int) -> str:
    """Return the row of a history that is looked at after each run, from the 12th to the 50th."""
    rng = np.random.default_rng(99)
    alarms = []
    for _ in range(count):
        times = series(rng, 50).tolist()
        alarms.append(any(changes.find(times[:runs]) for runs in range(12, 51)))
    return f"| 50 equal runs, looked at after each | {np.mean(alarms):.1%} | – |".replace("%", " %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400, help="histories of each kind")
    count = parser.parse_args().count
    print("| history | a change is marked | exactly there |\n|---|---:|---:|")
    for name in HISTORIES:
        print(row(name, count), flush=True)
    print(looked_at_each_time(count // 4))


if __name__ == "__main__":
    main()
