"""The sentences of a sweep's report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mvdeploy.analysis.pareto import Standing
from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.scaling import METHOD, Scaling
from mvdeploy.analysis.sweep import Front, Series, SweepView, size_of, title_of
from mvdeploy.stats.reliability import Grade
from mvdeploy.text_format import count, elide, join, milliseconds

_NAMED = 6
"""Cases that a sentence names."""

_SAID = 6
"""Series that a summary has a sentence on."""

_WIDTH = 80


def summary(view: SweepView) -> tuple[str, ...]:
    """Say how much was measured, by which power latency grows, and what is worth having."""
    measured = [entry for entry in view.entries if entry.level]
    asked = len(view.entries) + len(view.saved.unbuilt)
    first = f"{len(measured)} of {count(asked, 'case')} have a latency."
    if measured:
        fast, slow = (f(measured, key=lambda e: e.ns or 0.0) for f in (min, max))
        first = (
            f"{first[:-1]}: from {milliseconds(fast.ns)} ms ({_short(fast.name)}) to "
            f"{milliseconds(slow.ns)} ms ({_short(slow.name)})."
        )
    doubts = tuple(_unreliable(view))
    said = [sentence for series in view.series if (sentence := _growth(series))]
    more = len(said) - _SAID
    rest = [f"The report has the exponents of {more} more."] if more > 0 else []
    return (first, *doubts, *said[:_SAID], *rest, *(_on_front(one) for one in view.fronts))


def _unreliable(view: SweepView) -> Iterator[str]:
    verdicts = [e.case.verdict.grade for e in view.entries if e.case and e.case.verdict]
    bad = sum(grade is Grade.UNRELIABLE for grade in verdicts)
    if bad:
        yield (
            f"{bad} of {len(verdicts)} latencies cannot be relied on, as the runs say, nor can the "
            "places on fronts that rest on them."
        )


def growth(view: SweepView) -> tuple[str, ...]:
    """Say by which power the latency of each network grows."""
    said = [sentence for series in view.series if (sentence := _growth(series))]
    return tuple(said) or ("No network was measured in two sizes, so there is no exponent.",)


def missing(view: SweepView) -> tuple[str, ...]:
    """Say which cases have no latency and why, and which compute something else on the device."""
    absent = [f"{one.name}: {one.reason}" for one in view.saved.unbuilt]
    absent += [f"{entry.name}: {entry.reason}" for entry in view.entries if not entry.level]
    wrong = [
        f"{entry.name}: the device computes something else than the network; its latency is "
        "neither fitted nor on a front"
        for entry in view.entries
        if entry.wrong
    ]
    apart = [
        f"{name}: the reference has no latency in this block, so its cases are not brought to the "
        "level of the others"
        for name in view.apart
    ]
    return tuple(map(_sentence, (*absent, *wrong, *apart)))


def about_fronts(view: SweepView) -> tuple[str, ...]:
    """Say which cases are on a front, and how sure that is."""
    lacking = [_lacking(one) for one in view.fronts if one.lacking]
    return (*(_on_front(one) for one in view.fronts), *lacking)


def how(view: SweepView) -> tuple[str, ...]:
    """Say how exponents and fronts come about."""
    named = [
        f"{case.network} {size_of(case)}, {title_of(view.saved, case.way)}"
        for case in view.saved.cases
        if case.slug in view.saved.reference
    ]
    level = (
        "Latencies are geometric means of the medians of the sessions. The machine is not as fast "
        f"in every block: {join(named)} is in all of them, and brings the cases to one level."
        if len(view.runs) > 1
        else "Latencies are geometric means of the medians of the sessions."
    )
    return (
        level,
        f"Exponents: {METHOD}. They are those of CPU time where it holds all of the work, with one "
        "thread, as other programs hardly change it; of wall time otherwise.",
        "A case is surely on a front when its interval lies below those of all that are as good in "
        "the other; it is behind when one of these is faster, interval against interval. Each "
        "interval is one of 95 % by itself.",
    )


def exponent(found: Scaling | None) -> str:
    """Return an exponent with its interval: ``1.08 (1.02–1.14)``."""
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.exponent:.2f}"
    return f"{found.exponent:.2f} ({_number(found.low)}–{_number(found.high)})"


def _growth(series: Series) -> str:
    found = series.pixels
    if found is None:
        return ""
    ends = f"{size_of(series.entries[0].planned)} to {size_of(series.entries[-1].planned)}"
    interval = _interval(found)
    said = (
        f"{_short(series.name)}: latency grows as pixels^{found.exponent:.2f}{interval}, "
        f"{count(found.sizes, 'size')} from {ends}"
    )
    return f"{said}, by {CLOCK_NAMES[series.clock]}{_against_macs(series, found)}.{_few(found)}"


def _interval(found: Scaling) -> str:
    if found.low is None or found.high is None:
        return " (no interval)"
    return f" (95 %: {_number(found.low)} to {_number(found.high)})"


def _against_macs(series: Series, found: Scaling) -> str:
    if series.macs is None:
        return ""
    by = f"MACs grow as pixels^{series.macs:.2f}"
    if found.low is None or found.holds(series.macs):
        return f"; {by}, which cannot be told from it"
    return f"; {by}, {'more slowly' if series.macs < found.exponent else 'faster'}"


def _few(found: Scaling) -> str:
    if not found.few:
        return ""
    if found.sizes == 2:
        return (
            " Two sizes always lie on a line: whether it is a power law cannot be told, and the "
            "interval knows of the spread between sessions alone."
        )
    return " Three sizes are too few to tell a power law: the interval rests on one residual."


def _on_front(one: Front) -> str:
    names = {
        standing: [_short(p.point.name) for p in one.placed if p.standing is standing]
        for standing in Standing
    }
    where = f"{one.where}: " if one.where else ""
    head = f"{where}latency against {one.noun}: "
    sure, open_ = names[Standing.FRONT], names[Standing.OPEN]
    said = f"surely on the front {_are(sure)}" if sure else "nothing is surely on the front"
    rest = f"; of {_listed(open_)} it cannot be told" if open_ else ""
    behind = len(names[Standing.BEHIND])
    others = f"; {behind} behind" if behind else ""
    text = f"{head}{said}{rest}{others}."
    return text[0].upper() + text[1:] if not where else text


def _are(names: Sequence[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    return join(list(names))


def _lacking(one: Front) -> str:
    where = f"{one.where}: " if one.where else ""
    verb = "has" if len(one.lacking) == 1 else "have"
    return f"{where}{_listed(one.lacking)} {verb} no known {one.noun}, and no place there."


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _short(name: str) -> str:
    return elide(name, _WIDTH)


def _sentence(words: str) -> str:
    words = " ".join(words.split())
    return words if words.endswith(".") else f"{words}."
