"""Findings in words: what was found, and what to do about it.

A new code needs one entry in the table; a code without one is shown with its values as they are.
"""

from __future__ import annotations

import dataclasses

from mvdeploy.records import Finding, Level
from mvdeploy.report.words import clean, significant


@dataclasses.dataclass(frozen=True)
class WordedFinding:
    """A finding as reports print it.

    Attributes:
        level: how much it matters.
        code: what was found.
        subjects: names of the cases it is about; empty for the run as a whole.
        sentence: what was found.
        remedy: what to do; empty when nothing is to be done.
        values: the figures.
    """

    level: Level
    code: str
    subjects: tuple[str, ...]
    sentence: str
    remedy: str
    values: dict[str, str | int | float]


@dataclasses.dataclass(frozen=True)
class FindingGroup:
    """The same finding on several cases.

    Attributes:
        level: how much it matters.
        code: what was found.
        lines: names of cases and what was found of them; no names for the run as a whole.
        remedy: what to do; empty when nothing is to be done.
    """

    level: Level
    code: str
    lines: tuple[tuple[str, str], ...]
    remedy: str


_WORDS: dict[str, tuple[str, str]] = {
    "parity_failed": (
        "The exported model is numerically broken: on input '{input}' its outputs differ from the "
        "reference by up to {max_abs}, where {threshold} is allowed.",
        "Do not use this latency; export the model again, and report it with the versions.",
    ),
    "blind_parity": (
        "The parity check is blind: the reference's outputs hardly depend on the input (spread "
        "{spread}).",
        "Leave --seed at its default.",
    ),
    "random_weights": (
        "The weights are random (seed {seed}): the latency is that of the network, its predictions "
        "mean nothing.",
        "Give a checkpoint with --weights to have predictions that mean something.",
    ),
    "categories_by_table": (
        "The network's classes declare no categories; they are from a table by class name.",
        "Read the categories as a classification of another library's modules.",
    ),
    "preempted": (
        "Other programs took the processor: the sum of wall times is {ratio} times the sum of CPU "
        "times.",
        "Close other programs, bind the run to cores that are free, and measure again; judge "
        "differences by the paired ratio only.",
    ),
    "drift": (
        "The median changed by {percent} % from the first half of the samples to the second.",
        "Let the device cool down or warm up longer (--warmup), and measure longer (--min-time).",
    ),
    "steal": (
        "The hypervisor took {percent} % of the processor time for other machines.",
        "Measure on a machine of your own, or when the host is idle.",
    ),
    "wide_interval": (
        "The median is known to ±{percent} % only, even within this run.",
        "Measure longer with --min-time, on a device that does nothing else.",
    ),
    "p99_is_maximum": (
        "There are only {count} samples, so p99 says no more than the maximum.",
        "Take 100 samples or more with --iterations or --min-time.",
    ),
    "not_interleaved": (
        "The cases did not take turns: {reason}.",
        "Do not compare their latencies; measure them in one run on one device.",
    ),
    "cpu_time_partial": (
        "CPU times hold only a part of the work, which runs on {threads} threads.",
        "Wall times decide here; with --threads 1, CPU time decides, and smaller differences are "
        "found.",
    ),
    "fused_across_modules": (
        "{percent} % of the operator time is in operators that the engine fused from more than one "
        "module ({count} of them); each counts under the first of its modules.",
        "Take shares of neighbouring modules with that uncertainty.",
    ),
    "unplaced_operators": (
        "{percent} % of the operator time is in operators that could not be placed in a module "
        "({count} of them); it is shown as unattributed.",
        "Look them up in operators.csv; they are usually made by the engine itself.",
    ),
    "operators_exceed_latency": (
        "The operator times add up to {percent} % more than the latency, and were scaled down to "
        "it.",
        "The profiler slows small operators most: take their shares as upper bounds.",
    ),
    "profile_failed": (
        "There is no breakdown, because the profiled run failed: {reason}.",
        "The latency is not affected; run again with --debug to see the engine's own output.",
    ),
    "interrupted": (
        "The run ended early; not measured: {cases}.",
        "Run the same command again to measure the rest.",
    ),
    "emulated": (
        "The device is emulated: these times are not those of any real device.",
        "Use them to check that everything works; measure on the device itself.",
    ),
}

_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}


def word(finding: Finding, subjects: tuple[str, ...] = ()) -> WordedFinding:
    """Put a finding into words.

    Args:
        finding: with any code; one that is unknown, or lacks a figure, is shown as it is.
        subjects: names of the cases it is about.
    """
    values = {name: _shown(value) for name, value in finding.values.items()}
    sentence, remedy = _WORDS.get(finding.code, ("", ""))
    try:
        sentence = sentence.format_map(values)
    except KeyError:
        sentence = ""
    if not sentence:
        remedy = ""
        listed = ", ".join(f"{name} = {value}" for name, value in values.items())
        sentence = f"Recorded as '{clean(finding.code)}'" + (f": {listed}." if listed else ".")
    return WordedFinding(
        finding.level, clean(finding.code), subjects, clean(sentence), remedy, finding.values
    )


def word_all(
    run: tuple[Finding, ...], cases: tuple[tuple[str, tuple[Finding, ...]], ...]
) -> tuple[WordedFinding, ...]:
    """Put the findings of a run into words, gravest first, the same of several cases together.

    Args:
        run: of the run as a whole.
        cases: name of a case, and its findings.
    """
    together: dict[str, tuple[Finding, list[str]]] = {}
    for name, findings in cases:
        for finding in findings:
            together.setdefault(repr(finding), (finding, []))[1].append(name)
    worded = [word(finding) for finding in run]
    worded += [word(finding, tuple(dict.fromkeys(names))) for finding, names in together.values()]
    return tuple(sorted(worded, key=lambda w: _ORDER[w.level]))


def grouped(findings: tuple[WordedFinding, ...]) -> tuple[FindingGroup, ...]:
    """Put findings that differ only in case and figures together."""
    together: dict[tuple[Level, str, str], list[tuple[str, str]]] = {}
    for f in findings:
        lines = together.setdefault((f.level, f.code, f.remedy), [])
        lines.append((", ".join(f.subjects), f.sentence))
    return tuple(
        FindingGroup(level, code, tuple(lines), remedy)
        for (level, code, remedy), lines in together.items()
    )


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return significant(value).replace("-", "−")
    return clean(str(value)).rstrip(".")
