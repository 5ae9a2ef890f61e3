"""The modules that take longest, the cases side by side."""

from __future__ import annotations

from matplotlib.figure import Figure

from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.report.tables.breakdown import top_modules
from mvdeploy.text_format import milliseconds


def draw(view: View) -> Figure:
    """Draw one group of bars for each module path, one bar for each profiled case."""
    cases = view.profiled
    paths = top_modules(cases, 12 if len(cases) <= 4 else 8)
    bar = 0.24 if len(cases) == 1 else 0.17
    group = bar * len(cases) + 0.12
    legend_rows = -(-len(cases) // 2)
    figure = _style.figure(0.85 + 0.17 * 2 * legend_rows + group * len(paths))
    axes = figure.subplots()
    largest = 0.0
    for index, case in enumerate(cases):
        if case.breakdown is None:
            continue
        by_path = {m.path: m.ns for m in case.breakdown.modules}
        colour, hatch = _style.case_look(view, case)
        times = [by_path.get(path, 0.0) for path in paths]
        rows = [i * group + (index - (len(cases) - 1) / 2) * bar for i in range(len(paths))]
        axes.barh(
            rows,
            [ns / 1e6 for ns in times],
            height=0.88 * bar,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            label=_style.case_label(view, case, width=52, lines=2),
        )
        for row, ns in zip(rows, times, strict=True):
            text = milliseconds(ns) if ns else "none"
            axes.annotate(
                text, (ns / 1e6, row), (3, 0), textcoords="offset points", va="center", size=7
            )
        largest = max([largest, *times])
    axes.set_yticks(
        [i * group for i in range(len(paths))], [_style.label(view, path, 46) for path in paths]
    )
    axes.set_ylim(len(paths) * group - group / 2, -group / 2)
    axes.set_xlim(0, 1.1 * (largest or 1.0) / 1e6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("milliseconds of one inference")
    axes.grid(axis="x")
    if len(cases) > 1:
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure
