"""The same network on two engines, side by side."""

from __future__ import annotations

from mvdeploy.analysis.breakdown_view import NETWORK, UNATTRIBUTED_TITLES
from mvdeploy.analysis.engine_differences import EngineDifference, ModuleDifference
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, side_note, text
from mvdeploy.text_format import NONE, milliseconds, signed_milliseconds, signed_percent

_TOP = 16


def engines(view: View, pair: EngineDifference) -> Table:
    """List the modules in which one engine loses most against the other."""
    a, b = pair.parts.a, pair.parts.b
    latency = pair.parts.rows[-1]
    rows = [(module_title(m), m.a_ns, m.b_ns) for m in pair.modules[:_TOP]]
    others = pair.modules[_TOP:]
    if others:
        title = f"{len(others)} further modules"
        rows.append((title, sum(m.a_ns for m in others), sum(m.b_ns for m in others)))
    rows += [(r.title, r.a_ns, r.b_ns) for r in pair.parts.rows if r.key in UNATTRIBUTED_TITLES]
    rows.append((latency.title, latency.a_ns, latency.b_ns))
    return Table(
        f"{b.engine} against {a.engine}: {pair.network}",
        (
            text("Module"),
            Column(f"{a.key}, ms"),
            Column(f"{b.key}, ms"),
            Column("difference, ms"),
            Column("of the module"),
        ),
        tuple(
            (
                name,
                milliseconds(before),
                milliseconds(after),
                signed_milliseconds(after - before),
                signed_percent((after - before) / before) if before else NONE,
            )
            for name, before, after in rows
        ),
        note=(
            f"{side_note(view, (a, b))} Largest difference first; above zero {b.engine} is "
            "slower. A module stands for all inside it where the engines divide it differently. "
            + (
                f"{b.key}'s times are scaled to the paired ratio."
                if pair.parts.paired
                else "The two were not measured in turns: small differences say nothing; 'mvdeploy "
                "compare' with both formats measures them in turns."
            )
        ),
        total=True,
        cases=((a.key, b.key),) * len(rows),
    )


def module_title(module: ModuleDifference) -> str:
    """Return the path of a module, and whether only its own code is meant."""
    if not module.path:
        return NETWORK
    return module.path if module.inside else f"{module.path} (its own code)"
