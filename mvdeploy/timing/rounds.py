"""Rounds in which the sessions of several engines take turns, each in a process of its own.

Engines in one process would disturb each other: their threads spin on the same cores, and each
inference finds the caches filled by another engine, which costs one more than the other. So what is
compared is the latency of each case in its own blocks, session against session of the same round.
The order within a round is random, and every second round has the reverse of the order before: what
comes first, and a machine that slows down steadily, favours no one. A pair of sessions is a single
observation, so there are more sessions, each shorter, than for one engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mvdeploy.links import Link
from mvdeploy.records import Comparison, PairGroup, Plan, SessionPair
from mvdeploy.stats import paired
from mvdeploy.text_format import count
from mvdeploy.timing import schedule
from mvdeploy.timing.case import Entry, Progress, by_engine
from mvdeploy.timing.sessions import LEAST_GROUPS, Clock, Listener, Work, narrow_enough

Pair = tuple[str, str]


def spread(plan: Plan) -> Plan:
    """Return a plan for rounds: the measured time of each case in as many sessions as groups."""
    if plan.iterations is not None:
        return plan
    sessions = max(plan.sessions, plan.groups)
    sessions += sessions % 2  # an odd number would leave one order ahead of the other
    time_s = plan.session_time_s * plan.sessions / sessions
    return dataclasses.replace(plan, sessions=sessions, session_time_s=time_s)


class Rounds:
    """The sessions of cases in one setting of the device.

    Args:
        entries: the cases.
        link: an open link to the device.
        plan: how.
        listener: gets the measurements and failures.
        anchors: see `mvdeploy.timing.measure.measure`.
        clock: seconds, for the time limits.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        link: Link,
        plan: Plan,
        listener: Listener,
        anchors: Sequence[Entry],
        clock: Clock,
    ) -> None:
        groups = [list(entries)] if plan.pairs_only else by_engine(entries)
        self._plan = spread(plan) if len(groups) > 1 else plan
        self._listener = listener
        self._works = []
        for group in groups:
            own = dataclasses.replace(self._plan, threads=group[0].threads or plan.threads)
            work = Work(group, link, own, listener, clock)
            for anchor in anchors:
                if anchor.model.engine == group[0].model.engine:
                    work.set_anchor(anchor)
            self._works.append(work)
        self._entries = entries
        self._number = 0
        self._pairs: dict[Pair, list[SessionPair]] = {}
        self._settled: set[Pair] = set()

    def finished(self) -> bool:
        """Say whether no further round is needed."""
        return not any(self._wanted())

    def next(self) -> None:
        """Run a round: a session of each engine that still needs one."""
        wanted = self._wanted()
        made: dict[str, int] = {}
        order = schedule.creation_order(len(self._works), self._number, self._plan.seed)
        for position, index in enumerate(order):
            work, counts = self._works[index], wanted[index]
            if counts is not None:
                before = {run.entry.slug: len(run.sessions) for run in work.runs}
                work.session(counts, _title(work) if len(self._works) > 1 else "")
                for run in work.runs:
                    if len(run.sessions) > before[run.entry.slug] and run.sessions[-1].steady:
                        made[run.entry.slug] = position
        self._number += 1
        if len(self._works) > 1:
            self._keep(made)
            self._listener.compared(self.comparisons())

    def tell(self, *, final: bool = False) -> None:
        """Tell the listener what is known."""
        for work in self._works:
            work.tell(final=final)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the paired samples so far."""
        in_turns = {(c.a, c.b): c for work in self._works for c in work.comparisons()}
        across = {(a, b): Comparison(a, b, ()) for a, b in self._pairs}
        return tuple(
            dataclasses.replace(found, sessions=tuple(self._pairs.get(pair, ())))
            for pair, found in {**across, **in_turns}.items()
        )

    def _wanted(self) -> list[list[int] | None]:
        """Return how often each case of each engine runs in its blocks of the next round.

        None stands for an engine that needs no further session.
        """
        if len(self._works) == 1:
            (work,) = self._works
            return [None if work.finished() else work.counts()]
        compared = {slug for pair in self._open() for slug in pair}
        return [self._counts(work, compared) for work in self._works]

    def _counts(self, work: Work, compared: set[str]) -> list[int] | None:
        counts = work.counts()
        if self._plan.iterations is None:
            over = work.seconds + work.longest_s > self._plan.max_time_s
            if over and self._number >= self._plan.sessions:
                return None  # its sessions load anew each time, which counts here
            counts = [
                count or (run.block_count(self._plan) if run.entry.slug in compared else 0)
                for run, count in zip(work.runs, counts, strict=True)
            ]
        return counts if any(counts) or not work.settled() else None

    def _open(self) -> list[Pair]:
        """Return the pairs of cases that are not yet known well enough."""
        for pair in self._candidates():
            if pair not in self._settled and self._is_settled(pair):
                self._settled.add(pair)
        return [pair for pair in self._candidates() if pair not in self._settled]

    def _candidates(self) -> list[Pair]:
        """Return the pairs that are compared: the first living case of a group and each other."""
        alive = {run.entry.slug for work in self._works for run in work.runs}
        pairs = []
        for group in dict.fromkeys(entry.group for entry in self._entries):
            members = [e.slug for e in self._entries if e.group == group and e.slug in alive]
            pairs += [(members[0], other) for other in members[1:]]
        return pairs

    def _is_settled(self, pair: Pair) -> bool:
        if self._plan.iterations is not None or self._number < LEAST_GROUPS or self._number % 2:
            return False
        works = [work for work in self._works if {r.entry.slug for r in work.runs} & {*pair}]
        if len(works) == 1 and pair in {(c.a, c.b) for c in works[0].comparisons()}:
            return True  # their turns decide, and go on until they do
        kept = self._pairs.get(pair, [])
        groups: list[PairGroup] = []
        if len(kept) >= self._plan.groups:
            a, b = (self._runs()[slug].sessions for slug in pair)
            groups = paired.of_sessions(kept, a, b)
        spent = max(work.seconds for work in works)
        longest = max(work.longest_s for work in works)
        plan = dataclasses.replace(self._plan, threads=max(work.threads for work in works))
        return narrow_enough(groups, plan, spent, 2 * longest)

    def _runs(self) -> dict[str, Progress]:
        return {run.entry.slug: run for work in self._works for run in work.runs}

    def _keep(self, made: Mapping[str, int]) -> None:
        """Keep the pairs of sessions that a round brought."""
        runs = self._runs()
        for pair in self._candidates():
            a, b = pair
            if a in made and b in made:
                of_a, of_b = (len(runs[slug].sessions) - 1 for slug in pair)
                self._pairs.setdefault(pair, []).append(SessionPair(of_a, of_b, made[a], made[b]))


def _title(work: Work) -> str:
    """Return whose sessions these are."""
    entry = work.runs[0].entry
    threads = count(entry.threads, "thread") if entry.threads else ""
    return " ".join(filter(None, (entry.model.engine, threads)))
