"""The sentences of a page of several runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mvdeploy.analysis import in_browsers
from mvdeploy.analysis.in_browsers import Loss
from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.several import Against, Cell, InTurns, Place, Ratio, Row, SeveralView
from mvdeploy.report import wording
from mvdeploy.stats.unpaired import METHOD
from mvdeploy.text_format import clean, count, join, milliseconds, percent, reading

_NAMED = 4
"""Rows that a sentence names; of more it tells the number."""

_PARTS, _COUNTS = 3, 0.05
"""Parts of a difference that a sentence names, and the least share of one that does."""


def summary(view: SeveralView) -> tuple[str, ...]:
    """Say what is side by side, and what came out."""
    unpaired, doubtful = _unpaired(view), _doubtful(view)
    return (_setting(view), *_answers(view), *unpaired, *in_turns(view), *doubtful)


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
    identity = place.device.identity
    told = [reading(identity[name]) for name in ("browser", "cpu") if identity.get(name)]
    title = place.name + (f" ({', '.join(told)})" if told else "")
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
            browsers = [a for a in view.against if {a.native, a.web} == {index, reference}]
            if browsers:
                yield from _page(view, browsers)
            else:
                yield _answer(place, view.places[reference], ratios)


def _page(view: SeveralView, browsers: list[Against]) -> Iterator[str]:
    """Say how much longer a page takes than a program, whichever was given first, and where."""
    rows = {row.name: row for row in view.rows}
    page, program = view.places[browsers[0].web], view.places[browsers[0].native]
    yield _answer(page, program, [(rows[one.row], one.ratio) for one in browsers])
    parts = in_browsers.together(one.categories for one in browsers)
    operators = in_browsers.together(one.kinds for one in browsers)
    more = sum(loss.web_ns - loss.native_ns for loss in parts)
    if more <= 0:
        return
    most = sorted(parts, key=lambda loss: -loss.share)[:_PARTS]
    said = [f"{_plain(loss.title)} ({_loss(loss)})" for loss in most if loss.share > 0]
    slowest = max(
        (loss for loss in operators if loss.share >= _COUNTS and loss.times),
        key=lambda loss: loss.times or 0.0,
        default=None,
    )
    of_kind = (
        f"; of the kinds of operators, {slowest.title} loses most ({_loss(slowest)})"
        if slowest and not view.by_kind
        else ""
    )
    yield (
        f"What the page in {page.name} takes more than the program is mostly in "
        f"{join(said)}{of_kind}."
    )


def _loss(loss: Loss) -> str:
    times = "" if loss.times is None else f", {loss.times:.1f} times as long"
    return f"{percent(loss.share, 0)} of the difference{times}"


def _plain(title: str) -> str:
    """Return the title of a part as it is written within a sentence."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def in_turns(view: SeveralView) -> tuple[str, ...]:
    """Say of every two cases that took turns in several places how they compare in each."""
    return tuple(map(functools.partial(_in_turns, view), view.turns))


def _in_turns(view: SeveralView, turns: InTurns) -> str:
    told = [
        f"{place.name} {wording.ratio_text(found)} [{wording.interval_text(found)}] "
        f"({found.verdict}, by {CLOCK_NAMES[found.clock]})"
        for place, compared in zip(view.places, turns.cells, strict=True)
        if compared is not None and (found := compared.estimate) is not None
    ]
    return f"{turns.b} ÷ {turns.a}, which took turns in each run: {'; '.join(told)}."


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


def _times(ratio: Ratio) -> str:
    interval = interval_text(ratio)
    return f"{ratio_text(ratio)}×" + (f" [{interval}]" if interval else "")


def _unpaired(view: SeveralView) -> Iterator[str]:
    if any(cell.ratio for _, _, cell in view.cells()):
        yield (
            "These ratios are unpaired: nothing took turns across runs, which were measured at "
            f"other times. Intervals of 95 % are {METHOD}."
        )


def _doubtful(view: SeveralView) -> Iterator[str]:
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
