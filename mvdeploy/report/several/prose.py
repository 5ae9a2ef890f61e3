"""The sentences of a page of several runs."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.several import Cell, Place, Ratio, Row, SeveralView, Spread
from mvdeploy.stats.unpaired import METHOD
from mvdeploy.text_format import clean, count, join, milliseconds, reading

_NAMED = 4
"""Rows that a sentence names; of more it tells the number."""


def summary(view: SeveralView) -> tuple[str, ...]:
    """Say what is side by side, and what came out."""
    return (_setting(view), *_answers(view), *_units(view), *_caveats(view))


def _setting(view: SeveralView) -> str:
    places = [_place(place) for place in view.places]
    shared = len(view.shared)
    done = f"{count(len(view.rows), 'case')} of {count(len(view.views), 'run')}: {join(places)}."
    if shared == len(view.rows):
        return done
    if not shared:
        return f"{done} No case is in more than one of them, so nothing has a ratio."
    return f"{done} {shared} of the cases {'is' if shared == 1 else 'are'} in more than one."


def _place(place: Place) -> str:
    cpu = place.device.identity.get("cpu")
    title = place.name + (f" ({reading(cpu)})" if cpu else "")
    return f"{title}, an emulated device" if place.device.emulated else title


def _answers(view: SeveralView) -> Iterator[str]:
    """Say of each place how its latencies are to those of the references."""
    for index, place in enumerate(view.places):
        found: dict[int, list[tuple[Row, Ratio]]] = {}
        for row in view.rows:
            cell = row.cells[index]
            if cell is not None and cell.ratio is not None and row.reference is not None:
                found.setdefault(row.reference, []).append((row, cell.ratio))
        for reference, ratios in found.items():
            yield _answer(place, view.places[reference], ratios)


def _answer(place: Place, reference: Place, ratios: list[tuple[Row, Ratio]]) -> str:
    against = f"{place.name} against {reference.name}"
    if len(ratios) == 1:
        row, ratio = ratios[0]
        verdict = f"{ratio.verdict}, " if ratio.verdict else ""
        return f"{against}, {row.name}: {verdict}{_times(ratio)} the latency."
    ordered = sorted(ratios, key=lambda pair: pair[1].value)
    (least_row, least), (most_row, most) = ordered[0], ordered[-1]
    verdicts = [ratio.verdict for _, ratio in ratios]
    counts = [
        f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(filter(None, verdicts))
    ]
    told = f" ({join(counts)})" if counts else ""
    return (
        f"{against}: {_times(least)} ({least_row.name}) to {_times(most)} ({most_row.name}) the "
        f"latency in {count(len(ratios), 'case')}{told}."
    )


def _units(view: SeveralView) -> Iterator[str]:
    """Say how far devices of one kind are apart, at most."""
    widest: dict[str, Spread] = {}
    for one in view.spreads:
        known = widest.setdefault(one.device, one)
        widest[one.device] = max(known, one, key=lambda spread: spread.range_relative)
    for device, one in widest.items():
        yield clean(
            f"{len(one.medians_ns)} devices of the kind {device} are "
            f"{100 * one.range_relative:.1f} % apart in {one.row}, from "
            f"{milliseconds(min(one.medians_ns.values()))} to "
            f"{milliseconds(max(one.medians_ns.values()))} ms"
            f"{', the most of all cases' if len(view.spreads) > 1 else ''}."
        )


def _times(ratio: Ratio) -> str:
    interval = interval_text(ratio)
    return f"{ratio_text(ratio)}×" + (f" [{interval}]" if interval else "")


def _caveats(view: SeveralView) -> Iterator[str]:
    if any(cell.ratio for _, _, cell in view.cells()):
        yield (
            "These ratios are unpaired: nothing took turns across runs, which were measured at "
            f"other times. Intervals of 95 % are {METHOD}."
        )
    doubtful = [f"{row.name} on {place.name}" for row, place, cell in view.cells() if cell.doubtful]
    if doubtful:
        named = join(doubtful) if len(doubtful) <= _NAMED else count(len(doubtful), "result")
        be = "is" if len(doubtful) == 1 else "are"
        yield f"{named} {be} doubtful or unreliable; the reports of the runs say why."


def problems(view: SeveralView) -> tuple[str, ...]:
    """Say what is not held against others, or has no latency, and why; the same once."""
    together: dict[tuple[str, str], list[str]] = {}
    for row, place, cell in view.cells():
        for problem in _problems(cell):
            together.setdefault((place.name, problem), []).append(row.name)
    said = []
    for (where, problem), names in together.items():
        of_all = sum(place.name == where for _, place, _ in view.cells()) == len(names)
        if of_all and len(names) > 1:
            which = f"All cases on {where}"
        elif len(names) > _NAMED:
            which = f"{len(names)} cases on {where}"
        else:
            which = f"{join(names)} on {where}"
        said.append(clean(f"{which}: {problem}"))
    return tuple(said)


def _problems(cell: Cell) -> Iterator[str]:
    if cell.problem and cell.case.timing:
        yield f"{cell.problem.rstrip('.')}; no ratio."
    elif reason := cell.problem or cell.case.reason:
        yield f"{reason.rstrip('.')}."


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio with as many digits as a comparison across runs bears."""
    return f"{ratio.value:.2f}" if ratio.value >= 0.1 else f"{ratio.value:.3f}"


def interval_text(ratio: Ratio) -> str:
    """Return the interval of a ratio; empty when it has none."""
    if ratio.low is None or ratio.high is None:
        return ""
    digits = 2 if ratio.low >= 0.1 else 3
    return f"{ratio.low:.{digits}f}–{ratio.high:.{digits}f}"


def latency_text(cell: Cell | None) -> str:
    """Return a median latency in milliseconds, marked where it cannot be relied on."""
    timing = cell.case.timing if cell else None
    mark = " *" if cell and cell.doubtful else ""
    return milliseconds(timing.wall.p50 if timing else None) + mark
