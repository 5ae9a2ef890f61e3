"""What was measured, with what, and in what condition the device was."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.records import Artifact, ModelSpec, Reading, TensorInfo
from mvdeploy.report.tables.table import Table, facts_by_case, facts_table, text
from mvdeploy.text_format import reading


def artifacts(view: View) -> Iterator[Table]:
    """Show what every case is: file, size, network."""
    yield from facts_by_case(view, "Models", _artifact_facts)


def _artifact_facts(case: CaseView) -> dict[str, Reading]:
    artifact = case.case.artifact
    if artifact is None:
        return {}
    return {
        "format, precision": f"{case.format}, {case.precision}",
        "file": artifact.path,
        "size": f"{artifact.size_bytes / 1e6:.2f} MB",
        "sha256": artifact.sha256,
        "parameters": f"{artifact.parameters:,}" if artifact.parameters else "unavailable",
        "multiply-accumulates": _macs(artifact),
        "input": ", ".join(map(_input, artifact.inputs, artifact.spec.inputs)),
        "weights": _weights(artifact.spec),
        **({"written for": artifact.backend} if artifact.backend else {}),
        "passes": "not known" if artifact.read_from else _passes(artifact),
        "operators": f"{len(artifact.operators):,}" if artifact.operators else "unavailable",
        **({"made by": _made_by(artifact)} if artifact.read_from and artifact.versions else {}),
        **(
            {"modules read from": artifact.read_from}
            if artifact.modules and artifact.read_from
            else {}
        ),
    }


def _input(taken: TensorInfo, given: TensorInfo) -> str:
    """Name an input with its type, its shape, and what it is fed."""
    shape = "×".join(map(str, taken.shape)) or "a number"
    fed = "×".join(map(str, given.shape))
    free = any(isinstance(size, str) for size in taken.shape)
    parts = [f"{taken.name} {shape}", taken.dtype if taken.dtype != "float32" else ""]
    if free and fed:
        parts.append(f"fed {fed}")
    if given.values is not None:
        parts.append(f"seeded values {given.values[0]:g} to {given.values[1]:g}")
    return ", ".join(filter(None, parts))


def _macs(artifact: Artifact) -> str:
    if artifact.macs is None:
        return "unavailable"
    missing = f", without {', '.join(artifact.uncounted)}" if artifact.uncounted else ""
    return f"{artifact.macs:,}{missing}"


def _passes(artifact: Artifact) -> str:
    return ", ".join(p.name for p in artifact.passes) or "none"


def _made_by(artifact: Artifact) -> str:
    return ", ".join(f"{name} {version}" for name, version in artifact.versions.items())


def _weights(spec: ModelSpec) -> str:
    if spec.weights is not None:
        file = spec.weights
        fed = f", fed {file.channel_order}" if file.channel_order else ""
        return f"{file.text} (sha256 {file.sha256[:12]}{fed})"
    return "its own" if spec.seed is None else f"random, seed {spec.seed}"


def conditions(view: View) -> Iterator[Table]:
    """Show engine version and options of every case."""
    yield from facts_by_case(view, "Engines", _conditions)


def _conditions(case: CaseView) -> dict[str, Reading]:
    measurement = case.case.measurement
    return {"engine": measurement.engine, **measurement.conditions} if measurement else {}


def devices(view: View) -> Iterator[Table]:
    """Show what is known of every device; with several, which cases ran on it."""
    for device in view.devices:
        cases = [case.key for case in view.cases if case.device == device]
        about = f" ({', '.join(cases)})" if len(view.devices) > 1 else ""
        facts: dict[str, Reading] = {
            "device": device.profile.title,
            "profile": device.profile.name,
            "link": device.profile.link,
            "emulated": "yes" if device.emulated else "no",
            **device.identity,
        }
        if device.profile.notes:
            facts["notes"] = device.profile.notes
        yield facts_table(f"Device{about}", facts)


def device_states(view: View) -> Iterator[Table]:
    """Show the device before and after; cases that were measured together share a table."""
    together: dict[str, list[CaseView]] = {}
    for case in view.cases:
        if measurement := case.case.measurement:
            states = repr((measurement.before, measurement.after))
            together.setdefault(states, []).append(case)
    for cases in together.values():
        if measurement := cases[0].case.measurement:
            before, after = measurement.before, measurement.after
            names = dict.fromkeys((*before.readings, *after.readings))
            taken = ("taken at", before.taken_at, after.taken_at)
            about = f" ({', '.join(case.key for case in cases)})" if len(together) > 1 else ""
            yield Table(
                f"Device before and after{about}",
                (text("Reading"), text("before"), text("after")),
                (
                    taken,
                    *(
                        (n, *(reading(s.readings.get(n, "unavailable")) for s in (before, after)))
                        for n in names
                    ),
                ),
            )
