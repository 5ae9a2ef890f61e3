"""The sentences of a study's report."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from mvdeploy.analysis.study import TOLD_APART, Agreement, StudyView, WayView
from mvdeploy.text_format import NONE, count, join, percent

_NAMED = 3
"""Pairs that a sentence names."""


def summary(view: StudyView) -> tuple[str, ...]:
    """Say what the paper finds, and how far what was measured agrees with it."""
    several = len(view.ways) > 1
    said = [
        f"{way.title}: {sentence}" if several else sentence
        for way in view.ways
        for sentence in _agreements(view, way)
    ]
    found = [f"Published: {sentence(view.study.about)}"] if view.study.about else []
    return (*found, *said)


def missing(way: WayView) -> tuple[str, ...]:
    """Say which rows have no latency, and which compute something else on the device."""
    absent = [f"{e.row.name}: {e.reason}" for e in way.entries if e.reason]
    wrong = [
        f"{e.row.name}: the device computes something else than the network; do not use its latency"
        for e in way.entries
        if e.wrong
    ]
    return tuple(map(sentence, (*absent, *wrong)))


def sentence(words: str) -> str:
    """Return words on one line, with a full stop."""
    words = " ".join(words.split())
    return words if not words or words.endswith(".") else f"{words}."


def number(value: float | None) -> str:
    """Return a published number as it is printed."""
    return NONE if value is None else f"{value:g}"


def _agreements(view: StudyView, way: WayView) -> Iterator[str]:
    for one in way.agreements:
        if one.series.quantity == "latency":
            yield _latency_sentence(view, one)
        elif one.series.quantity == "share":
            yield _share_sentence(way, one)
        else:
            yield _accuracy_sentence(one)
    yield from _largest(way)
    if way.front:
        others = {one.row.name for one in way.entries if one.ns} - set(way.front)
        than = join(list(way.front)) if others else "another"
        yield f"No row is both faster here and, as published, more accurate than {than}."


def _latency_sentence(view: StudyView, one: Agreement) -> str:
    name = f"latency published for {one.series.where.split(',')[0]}, {one.series.title}"
    if len(one.rows) < 2:
        return f"Too few rows were measured to hold them against the {name}."
    order = f"{_order(one)} as in the {name}{_rank(one)}."
    if one.difference is None:
        return order
    kind = "Latencies" if one.same_device else f"Ratios to {view.study.reference}"
    return f"{order} {kind} depart most at {one.worst}: measured ÷ published {one.difference:.2f}."


def _order(one: Agreement) -> str:
    if not one.told:
        return f"No two rows differ by {percent(TOLD_APART, 0)} both here and"
    same = f"{one.told - len(one.contradicted)} of {count(one.told, 'pair')} of rows"
    if not one.contradicted:
        return f"{same} have the same order"
    named = join([f"{a} before {b}" for a, b in one.contradicted[:_NAMED]])
    more = len(one.contradicted) - _NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"{same} (not {named}{rest}) have the same order"


def _rank(one: Agreement) -> str:
    return "" if one.rank is None else f"; rank correlation {_correlation(one)}"


def _correlation(one: Agreement) -> str:
    return f"{one.rank:.2f} of {count(len(one.rows), 'row')}".replace("-", "−")


def _share_sentence(way: WayView, one: Agreement) -> str:
    part = one.series.part
    if one.difference is not None:
        sign = "+" if one.difference >= 0 else "−"
        return (
            f"{part}: the {way.time_kind} share of what is attributed departs most from the "
            f"published one at {one.worst} ({sign}{abs(one.difference):.1f} points){_rank(one)}."
        )
    shares = (entry.attributed(part) for entry in way.entries)
    ours = sorted(share for share in shares if share is not None)
    theirs = join([f"{number(value)} % for {row}" for row, value in one.series.values.items()])
    if not ours:
        return f"{part}: published {theirs}; nothing was measured."
    rows, where = count(len(ours), "row"), one.series.where.split(";")[0]
    least, middle, most = map(percent, (ours[0], statistics.median(ours), ours[-1]))
    return (
        f"{part}, of what is attributed: {way.time_kind} {least} to {most} of {rows}, "
        f"median {middle}; published {theirs} ({where})."
    )


def _accuracy_sentence(one: Agreement) -> str:
    few = f"too few rows to correlate ({len(one.rows)})"
    said = few if one.rank is None else f"rank correlation {_correlation(one)}"
    return f"Measured latency and published {one.series.title}: {said}."


def _largest(way: WayView) -> Iterator[str]:
    """Say in how many rows the same part is the largest."""
    if len(way.largest) < 2:
        return
    others = [
        f"{row} ({ours}, not {theirs})" for row, ours, theirs in way.largest if ours != theirs
    ]
    same = len(way.largest) - len(others)
    but = f"; not in {join(others)}" if others else ""
    yield (
        f"The largest of the published parts is the largest here in {same} of "
        f"{count(len(way.largest), 'row')}{but}."
    )
