"""The tables of a study's report."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.study import Entry, StudyView, WayView
from mvdeploy.records.study import Published
from mvdeploy.report.study.prose import number, sentence
from mvdeploy.report.tables.table import Column, Table, facts_table, text
from mvdeploy.text_format import NONE, milliseconds


def tables(view: StudyView, way: WayView) -> Iterator[Table]:
    """Give the tables of one format: latencies, and shares where the study has any."""
    yield _latencies(view, way)
    if view.study.divided:
        yield _shares(view, way)


def sources(view: StudyView) -> Table:
    """Return where each column of published numbers is from."""
    rows = tuple(
        (f"{one.title}, {one.unit}", one.quantity, one.where, one.source)
        for one in view.study.published
    )
    heads = ("Numbers", "what they are", "device and conditions", "source")
    note = "All of these are published; nothing of them was measured here. Accuracy always is."
    return Table("Sources", tuple(map(text, heads)), rows, note=note)


def conditions(view: StudyView) -> Iterator[Table]:
    """Give what was asked, and the runs that it took."""
    saved = view.saved
    said = {name: value for name, value in saved.conditions.items() if value and name != "plan"}
    if view.runs:
        plan = view.runs[0].run.plan
        said["threads"] = str(plan.threads)
        said["cores"] = ", ".join(map(str, plan.cores)) or "all"
    yield facts_table("Study", {"study": saved.name, "created": saved.created, **said})
    rows = tuple(
        (name, ", ".join(case.name for case in run.cases))
        for name, run in zip(saved.runs, view.runs, strict=True)
    )
    yield Table(
        "Runs",
        (text("Folder in runs/"), text("Cases")),
        rows,
        note="'mvdeploy report FOLDER' shows all of a run: samples, operators, devices, findings.",
    )


def _heading(series: Published) -> str:
    return f"{series.title}, {series.unit}\n(published)"


def _latencies(view: StudyView, way: WayView) -> Table:
    study = view.study
    latencies, accuracies = study.series("latency"), study.series("accuracy")
    parameters = study.series("parameters")
    columns = [
        text("Row"),
        Column("p50, ms\n(measured)"),
        text("verdict"),
        Column("÷ reference\n(measured)"),
    ]
    for one in latencies:
        of = f"{one.title} ÷ reference" if len(latencies) > 1 else "÷ reference"
        columns += [Column(_heading(one)), Column(f"{of}\n(published)")]
        if _is_same(view, one):
            columns.append(Column(f"measured ÷ published,\n{one.title}"))
    if len(accuracies) == 1:
        columns.append(Column(_heading(accuracies[0])))
    elif accuracies:
        columns.append(Column("Accuracy\n(published)"))
    columns += [Column("Parameters, M\n(measured)")] if parameters else []
    columns += [Column(_heading(one)) for one in parameters]
    rows = tuple(_latency_row(view, entry) for entry in way.entries if entry.row.model)
    return Table(
        f"Latency, {way.title}",
        tuple(columns),
        rows,
        note=_note(view),
    )


def _latency_row(view: StudyView, entry: Entry) -> tuple[str, ...]:
    study, name = view.study, entry.row.name
    verdict = entry.case.verdict.grade if entry.case and entry.case.verdict else NONE
    cells = [name, milliseconds(entry.ns), verdict, _ratio(entry)]
    for one in study.series("latency"):
        value, unit = one.values.get(name), one.values.get(study.reference)
        cells += [number(value), f"{value / unit:.2f}" if value and unit else NONE]
        if _is_same(view, one):
            cells.append(f"{entry.ns / 1e6 / value:.2f}" if entry.ns and value else NONE)
    accuracies = study.series("accuracy")
    if len(accuracies) == 1:
        cells.append(number(accuracies[0].values.get(name)))
    elif accuracies:
        found = [f"{one.title} {one.values[name]:g}" for one in accuracies if name in one.values]
        cells.append(", ".join(found) or NONE)
    if study.series("parameters"):
        cells.append(_parameters(entry))
    cells += [number(one.values.get(name)) for one in study.series("parameters")]
    return tuple(cells)


def _shares(view: StudyView, way: WayView) -> Table:
    study = view.study
    published = {part.title: _of_part(view, part.title) for part in study.parts}
    columns = [text("Row")]
    for part in study.parts:
        columns.append(Column(f"{part.title}\n({way.time_kind})"))
        columns += [Column(f"{part.title}\n(published)")] if published[part.title] else []
    what = "categories" if study.divided == "category" else "kinds"
    rest = (*((f"Other {what}",) if way.has_others else ()), "Unattributed")
    columns += [Column(f"{title}\n({way.time_kind})") for title in rest]
    rows = tuple(
        _share_row(view, way, entry, published)
        for entry in way.entries
        if entry.shares
        or any(entry.row.name in s.values for one in published.values() for s in one)
    )
    return Table(
        f"Shares of the latency, percent, {way.title}",
        tuple(columns),
        rows,
        note="Published numbers are those of the paper, on its device; see below.",
    )


def _share_row(
    view: StudyView, way: WayView, entry: Entry, published: dict[str, tuple[Published, ...]]
) -> tuple[str, ...]:
    cells = [entry.row.name]
    for part in view.study.parts:
        cells.append(_percent(entry, entry.shares.get(part.title)))
        series = published[part.title]
        found = [one.values[entry.row.name] for one in series if entry.row.name in one.values]
        cells += [", ".join(map(number, found)) or NONE] if series else []
    rest = (*((entry.other,) if way.has_others else ()), entry.unattributed)
    cells += [_percent(entry, share) for share in rest]
    return tuple(cells)


def _percent(entry: Entry, share: float | None) -> str:
    return f"{100 * share:.1f}" if entry.shares and share is not None else NONE


def _of_part(view: StudyView, part: str) -> tuple[Published, ...]:
    return tuple(one for one in view.study.series("share") if one.part == part)


def _is_same(view: StudyView, series: Published) -> bool:
    return view.device is not None and series.device == view.device.profile.name


def _note(view: StudyView) -> str:
    notes = [f"{row.name}: {row.note}" for row in view.study.rows if row.note]
    reference = (
        f"The reference is {view.study.reference}, which takes turns with every other row; the "
        "interval of 95 % is that of these turns."
    )
    return " ".join((reference, *map(sentence, notes)))


def _ratio(entry: Entry) -> str:
    ratio = entry.ratio
    if ratio is None:
        return NONE
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}" if ratio.value != 1 else "1"
    return f"{ratio.value:.3f} ({ratio.low:.3f}–{ratio.high:.3f})"


def _parameters(entry: Entry) -> str:
    artifact = entry.case.case.artifact if entry.case else None
    return f"{artifact.parameters / 1e6:.2f}" if artifact and artifact.parameters else NONE
