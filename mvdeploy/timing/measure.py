"""Measure the cases of a run.

Cases of one engine with one number of threads share sessions (`mvdeploy.timing.sessions`); those of
several take turns session by session, each in processes of its own, so that no engine's threads
disturb another's (`mvdeploy.timing.rounds`). Cases that differ in a setting of the whole device
cannot share a session either: the rounds of one setting and those of the other take turns.

What comes out is looked at every time: a case whose outputs are not finite, or not those that its
entry expects, fails; one that computes something else later, or with one thread, has a finding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mvdeploy.links import Link
from mvdeploy.records import Comparison, Plan
from mvdeploy.timing.case import Entry
from mvdeploy.timing.rounds import Rounds
from mvdeploy.timing.sessions import Clock, Listener

__all__ = ["Listener", "measure"]


def measure(
    entries: Sequence[Entry],
    link: Link,
    plan: Plan,
    listener: Listener,
    anchors: Sequence[Entry] = (),
    clock: Clock = time.monotonic,
) -> tuple[Comparison, ...]:
    """Measure cases, of one engine or several.

    Args:
        entries: the cases; the first of each `Entry.group` is what the others of it are compared
            with, those of its own engine and setting in turns, those of other engines session by
            session.
        link: an open link to the device.
        plan: how.
        listener: gets the measurements and failures.
        anchors: small networks, one of an engine, that run between the blocks of its cases as a
            yardstick.
        clock: seconds, for the time limits.

    Returns:
        The paired samples.
    """
    settings: dict[str, Rounds] = {}
    for setting in dict.fromkeys(entry.setting for entry in entries):
        link.take(setting)
        own = [entry for entry in entries if entry.setting == setting]
        settings[setting] = Rounds(own, link, plan, listener, anchors, clock)
    while unfinished := {s: rounds for s, rounds in settings.items() if not rounds.finished()}:
        for setting, rounds in unfinished.items():
            link.take(setting)
            rounds.next()
    for rounds in settings.values():
        rounds.tell(final=True)
    return tuple(c for rounds in settings.values() for c in rounds.comparisons())
