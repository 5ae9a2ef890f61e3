"""Synthetic machines, and comparisons of two cases that run on them. No hardware, no waiting.

A machine's speed is a function of time; an inference takes the case's latency, times the slowness
of the machine when it begins, times noise of its own. Many trials step side by side: the arrays
here have one entry for each trial.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mvdeploy.records import PairGroup, Plan, Samples
from mvdeploy.stats import stopping
from mvdeploy.stats.paired import TARGETS, RatioEstimate, ratio
from mvdeploy.timing import schedule

Floats = NDArray[np.float64]

LEAST = Plan().groups
"""Groups from which on the product asks whether the interval is narrow enough."""

TARGET = TARGETS["cpu"]
LIMIT_S = Plan().max_time_s

GROUP_S = 1.0
"""Seconds of turns in a group, about."""

PAUSE_S = (0.4, 0.5)
"""Seconds between groups, between these bounds: the next process starts and warms up."""

RAMP_RISE, RAMP_S = 0.15, 15.0
DVFS_SLOWNESS = 1.3
PERIOD_S, PERIOD_BUSY_S, PERIOD_RISE = 0.025, 0.006, 0.4
AR_SD, AR_TIME_S = 0.05, 0.2

# Ten groups on the steady machine then give the ±0.6 % that they give on a shared virtual machine.
_JITTER_SD = 0.05
_PREEMPTED_SHARE, _PREEMPTED_MEAN = 0.03, 0.5


class Machine:
    """Machines of one kind; this kind is always equally fast.

    Attributes:
        base_ns: what one inference takes when the machine is not slow.
        noise: factor on the noise of single inferences.
    """

    base_ns = 5e6
    noise = 1.0

    def __init__(self, trials: int, rng: np.random.Generator) -> None:
        self._trials = trials
        self._rng = rng

    def slowness(self, now_s: Floats) -> Floats:
        """Return the factor on inferences that begin now; time never goes back."""
        return np.ones(self._trials)


class Noisy(Machine):
    """So noisy that ten groups are too few for 1 %, and a minute is enough.

    There the width of the interval decides when measuring ends, which is where it errs most.
    """

    noise = 2.5


class Autoregressive(Machine):
    """Slowness wanders: neighbouring inferences resemble each other.

    Its logarithm has the autocorrelation exp(−t / 0.2 s), which is AR(1) at equal steps.
    """

    def __init__(self, trials: int, rng: np.random.Generator) -> None:
        super().__init__(trials, rng)
        self._log = AR_SD * rng.standard_normal(trials)
        self._at = np.zeros(trials)

    def slowness(self, now_s: Floats) -> Floats:
        kept = np.exp((self._at - now_s) / AR_TIME_S)
        fresh = AR_SD * np.sqrt(1 - kept**2)
        self._log = kept * self._log + fresh * self._rng.standard_normal(self._trials)
        self._at = now_s.copy()
        return np.exp(self._log)


class Ramp(Machine):
    """Slows down by 15 % over 15 s, as a phone does that gets warm, and stays there."""

    def slowness(self, now_s: Floats) -> Floats:
        return 1 + RAMP_RISE * np.minimum(now_s / RAMP_S, 1)


class Dvfs(Machine):
    """Jumps between two clock rates after exponentially distributed times."""

    def __init__(self, trials: int, rng: np.random.Generator, dwell_s: float) -> None:
        super().__init__(trials, rng)
        self._dwell_s = dwell_s
        self._slow = rng.random(trials) < 0.5
        self._until = rng.exponential(dwell_s, trials)

    def slowness(self, now_s: Floats) -> Floats:
        while (over := self._until <= now_s).any():
            self._slow ^= over
            self._until[over] += self._rng.exponential(self._dwell_s, np.count_nonzero(over))
        return np.where(self._slow, DVFS_SLOWNESS, 1.0)


class Periodic(Machine):
    """Something else wants the core for 6 ms every 25 ms.

    Who comes early in that time waits longest, so inferences fall into step with it; four of them
    take one period.
    """

    base_ns = 5.9e6

    def __init__(self, trials: int, rng: np.random.Generator) -> None:
        super().__init__(trials, rng)
        self._phase = rng.uniform(0, PERIOD_S, trials)

    def slowness(self, now_s: Floats) -> Floats:
        into = (now_s + self._phase) % PERIOD_S
        return 1 + PERIOD_RISE * np.maximum(1 - into / PERIOD_BUSY_S, 0)


MACHINES: dict[str, Callable[[int, np.random.Generator], Machine]] = {
    "iid": Machine,
    "noisy": Noisy,
    "ar1": Autoregressive,
    "ramp": Ramp,
    "dvfs-slow": functools.partial(Dvfs, dwell_s=2.0),
    "dvfs-fast": functools.partial(Dvfs, dwell_s=0.2),
    "periodic": Periodic,
}


@dataclasses.dataclass(frozen=True)
class GroupOrder:
    """What one group does.

    Attributes:
        first_created: 1 when case A's session is created first, else −1.
        cases: 0 for A or 1 for B, for each inference.
        block: inferences in one turn.
        apart: whether the two halves run in processes of their own, with a pause between them.
    """

    first_created: int
    cases: tuple[int, ...]
    block: int = 1
    apart: bool = False


Order = Callable[[int, int, float], GroupOrder]
"""Gives the order of a group from the seed of the run, the group's number and the latency in ns."""


# Machines of equal latency meet the same orders, and making them takes the most time of all.
@functools.lru_cache(maxsize=20_000)
def product_order(
    seed: int, number: int, base_ns: float, *, seconds: float = GROUP_S
) -> GroupOrder:
    """The order that bench and compare use, for so many seconds of turns."""
    estimates = (base_ns, base_ns)
    sizes = schedule.turn_sizes(estimates)
    turns = schedule.rounds(estimates, seconds)
    order = schedule.turn_order(sizes, turns, random.Random(f"{seed}/{number}"))
    cases = tuple(case for case, size in order for _ in range(size))
    created = schedule.creation_order(2, number, seed)
    return GroupOrder(1 if created[0] == 0 else -1, cases, sizes[0])


@functools.lru_cache(maxsize=20_000)
def session_order(
    seed: int, number: int, base_ns: float, *, seconds: float = GROUP_S
) -> GroupOrder:
    """The order in which bench measures two engines: a session of one, and one of the other."""
    count = max(1, round(seconds * 1e9 / base_ns))
    first, second = schedule.creation_order(2, number, seed)
    cases = (first,) * count + (second,) * count
    return GroupOrder(1 if first == 0 else -1, cases, count, apart=True)


def one_sided_sessions(seed: int, number: int, base_ns: float) -> GroupOrder:
    """A session of A, and then always one of B."""
    planned = session_order(seed, number, base_ns)
    return dataclasses.replace(planned, first_created=1, cases=tuple(sorted(planned.cases)))


def one_sided_order(seed: int, number: int, base_ns: float) -> GroupOrder:
    """A's session is always created first."""
    return dataclasses.replace(product_order(seed, number, base_ns), first_created=1)


def long_order(seed: int, number: int, base_ns: float) -> GroupOrder:
    """Ten seconds of turns in one process."""
    return product_order(seed, number, base_ns, seconds=10 * GROUP_S)


def long_fixed_order(seed: int, number: int, base_ns: float) -> GroupOrder:
    """Ten seconds in one process of A, B, A, B, ..."""
    planned = long_order(seed, number, base_ns)
    return dataclasses.replace(planned, cases=(0, 1) * (len(planned.cases) // 2))


def long_sequential_order(seed: int, number: int, base_ns: float) -> GroupOrder:
    """Ten seconds in one process: all of A, then all of B."""
    planned = long_order(seed, number, base_ns)
    return dataclasses.replace(planned, cases=tuple(sorted(planned.cases)))


Rule = Callable[[RatioEstimate, float], bool]
"""Says whether to stop, from the estimate so far and the seconds spent."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the procedure has to find out, and what disturbs it besides the machine.

    Attributes:
        ratio: time of B divided by time of A.
        first_penalty: by how much the session that was created first is slower.
        session_sd: standard deviation of what a session made anew adds to the log of its times.
    """

    ratio: float = 1.0
    first_penalty: float = 0.0
    session_sd: float = 0.002


class Trials:
    """Runs on machines of one kind, independent of each other.

    Attributes:
        now_s: how long each has run.
    """

    def __init__(
        self,
        machine: str,
        seeds: Sequence[int],
        truth: Truth = Truth(),
        order: Order = product_order,
    ) -> None:
        self._rng = np.random.default_rng([*machine.encode(), *seeds])
        self._machine = MACHINES[machine](len(seeds), self._rng)
        self._seeds = seeds
        self._truth = truth
        self._order = order
        self._number = 0
        self.now_s = np.zeros(len(seeds))

    def group(self) -> list[PairGroup]:
        """Run the next group of every trial."""
        orders = [self._order(seed, self._number, self._machine.base_ns) for seed in self._seeds]
        self._number += 1
        cases = np.array([order.cases for order in orders], dtype=np.int8)
        first = np.array([order.first_created for order in orders])
        self.now_s += self._rng.uniform(*PAUSE_S, len(orders))
        pause_at = cases.shape[1] // 2 if orders[0].apart else 0
        times = self._run(self._undisturbed(cases, first), pause_at).astype(np.int64)
        a = times[cases == 0].reshape(len(orders), -1).tolist()
        b = times[cases == 1].reshape(len(orders), -1).tolist()
        return [
            PairGroup(order.first_created, _samples(a[i]), _samples(b[i]), order.block, order.block)
            for i, order in enumerate(orders)
        ]

    def _undisturbed(self, cases: NDArray[np.int8], first: NDArray[np.int64]) -> Floats:
        """Return the time of each inference on a machine that is never slow, nanoseconds."""
        truth, rng, noise = self._truth, self._rng, self._machine.noise
        logs = rng.normal(0, truth.session_sd, (2, len(first)))
        logs[1] += np.log(truth.ratio)
        logs[0, first > 0] += np.log1p(truth.first_penalty)
        logs[1, first < 0] += np.log1p(truth.first_penalty)
        jitter = noise * _JITTER_SD * rng.standard_normal(cases.shape)
        preempted = rng.random(cases.shape) < _PREEMPTED_SHARE
        waits = preempted * rng.exponential(noise * _PREEMPTED_MEAN, cases.shape)
        own = np.where(cases == 0, logs[0][:, None], logs[1][:, None])
        times: Floats = self._machine.base_ns * np.exp(own + jitter) * (1 + waits)
        return times

    def _run(self, undisturbed: Floats, pause_at: int) -> Floats:
        times = np.ascontiguousarray(undisturbed.T)
        for number, step in enumerate(times):
            if pause_at and number == pause_at:
                self.now_s += self._rng.uniform(*PAUSE_S, len(self.now_s))
            step *= self._machine.slowness(self.now_s)
            self.now_s += step / 1e9
        return np.ascontiguousarray(times.T)


class Comparisons:
    """Comparisons by the product's estimator, side by side on machines of one kind."""

    def __init__(self, trials: Trials, count: int) -> None:
        self._trials = trials
        self.groups: list[list[PairGroup]] = [[] for _ in range(count)]

    def add(self, groups: int) -> None:
        for _ in range(groups):
            for kept, group in zip(self.groups, self._trials.group(), strict=True):
                kept.append(group)

    def estimate(self, trial: int) -> RatioEstimate:
        return ratio(self.groups[trial], "cpu")

    def spent_s(self, trial: int) -> float:
        return float(self._trials.now_s[trial])


def compare(
    machine: str,
    seeds: Sequence[int],
    truth: Truth = Truth(),
    order: Order = product_order,
    groups: int = 10,
) -> list[RatioEstimate]:
    """Compare with a number of groups that is known beforehand."""
    comparisons = Comparisons(Trials(machine, seeds, truth, order), len(seeds))
    comparisons.add(groups)
    return [comparisons.estimate(trial) for trial in range(len(seeds))]


def compare_until(
    machine: str,
    seeds: Sequence[int],
    rules: Mapping[str, Rule],
    order: Order = product_order,
) -> dict[str, list[RatioEstimate]]:
    """Add pairs of groups until every rule has said stop; return what each then had."""
    comparisons = Comparisons(Trials(machine, seeds, order=order), len(seeds))
    comparisons.add(2)  # two groups of a single pair each would have no interval
    stopped: list[dict[str, RatioEstimate]] = [{} for _ in seeds]
    while going := [trial for trial, found in enumerate(stopped) if len(found) < len(rules)]:
        comparisons.add(2)
        for trial in going:
            estimate, spent_s = comparisons.estimate(trial), comparisons.spent_s(trial)
            for name, rule in rules.items():
                if name not in stopped[trial] and rule(estimate, spent_s):
                    stopped[trial][name] = estimate
    return {name: [found[name] for found in stopped] for name in rules}


def when_narrow(
    estimate: RatioEstimate, spent_s: float, least: int = LEAST, engines: int = 1
) -> bool:
    """Stop as the product does, from so many groups on; each engine has so much time."""
    spent_s /= engines
    return estimate.groups >= least and _decides(estimate, estimate.half_width, spent_s)


def when_significant(estimate: RatioEstimate, spent_s: float) -> bool:
    """Stop as soon as there seems to be a difference."""
    return estimate.groups >= LEAST and (differs(estimate) or _decides(estimate, None, spent_s))


def differs(estimate: RatioEstimate) -> bool:
    """Say whether the comparison found a difference."""
    return estimate.verdict != "no difference detected"


def _decides(estimate: RatioEstimate, half_width: float | None, spent_s: float) -> bool:
    next_s = 2 * spent_s / estimate.groups
    return stopping.decide(half_width, TARGET, spent_s, LIMIT_S, next_s) is not None


def _samples(times: list[int]) -> Samples:
    taken = tuple(times)
    return Samples(taken, taken)
