"""What two results must share before their times may be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mvdeploy.analysis.cases import CaseView
from mvdeploy.errors import UsageError
from mvdeploy.records import UNAVAILABLE, Device, Plan, Reading
from mvdeploy.text_format import clean, reading

MACHINE = ("cpu", "machine", "os", "kernel", "build")
"""What of a device's identity decides its speed. A phone tells its system by ``build``."""

_RUN_BY_ANDROID = ("fixed_performance", "task_profile", "scheduling_groups")
"""Readings of a phone's state that decide its clocks and cores."""

_OF_BROWSERS = ("browser", "engine_sha256", "adapter", "cpu_clock")
"""What decides the times of a page beside: the browser's name and version, the files of the engine
that it was given, the GPU, and whose CPU time was read. Only results of browsers have these."""

_NAMES = (
    *("device", "emulated", *MACHINE),
    *("engine", "engine_version", "compute_units", "format", "precision"),
    *_OF_BROWSERS,
    *("threads", "cores", "batch"),
    *("runner_build", "cpu_quota", "environment"),
    *_RUN_BY_ANDROID,
)

_NOT_ALWAYS_TOLD = ("runner_build", "cpu_quota", "environment", *_RUN_BY_ANDROID)
"""Earlier results and some devices do not tell these: then they are taken to be alike."""


def conditions_of(case: CaseView, plan: Plan) -> dict[str, Reading]:
    """Return everything that two results must share to be comparable, in order of weight.

    What is compared is not among it: the model, its patches, its weights, the size of its images.

    Args:
        case: of a run.
        plan: of that run.

    Returns:
        Device profile, whether it was emulated, its identity, the engine, the kind of artifact,
        threads, cores and batch size, the build of the runner's kit, the quota of CPU time,
        environment variables that choose kernels or threads, and how Android ran it; of browsers,
        which one, and with which files of the engine and which CPU clock; ``unavailable`` where the
        run does not tell. Other options that were chosen for the engine
        come last.
    """
    measurement = case.case.measurement
    measured = measurement.conditions if measurement else {}
    before = measurement.before.readings if measurement else {}
    chosen = _chosen_options(measured)
    artifact, device = case.case.artifact, case.device
    of_browsers: dict[str, Reading] = {}
    if browser := browser_of(device):
        told = {key: measured.get(key, UNAVAILABLE) for key in _OF_BROWSERS}
        of_browsers = {**told, "browser": browser}
    conditions: dict[str, Reading] = {
        "device": device.profile.name,
        "emulated": "yes" if device.emulated else "no",
        **{key: device.identity.get(key, UNAVAILABLE) for key in MACHINE},
        "engine": case.case.engine,
        "engine_version": measured.get("engine_version", UNAVAILABLE),
        # Earlier results have the option among the other conditions.
        "compute_units": measured.get("compute_units", UNAVAILABLE),
        **chosen,
        "format": case.format or UNAVAILABLE,
        "precision": case.precision or UNAVAILABLE,
        **of_browsers,
        "threads": measured.get("threads", plan.threads),
        "cores": measured.get("cores", UNAVAILABLE),
        "batch": artifact.spec.batch if artifact else UNAVAILABLE,
        "runner_build": _runner_build(measured),
        "cpu_quota": before.get("cpu_quota_cores", UNAVAILABLE),
        "environment": before.get("environment", UNAVAILABLE),
        **{key: before.get(key, UNAVAILABLE) for key in _RUN_BY_ANDROID},
    }
    names = (*_NAMES, *sorted({*chosen}.difference(_NAMES)))
    return {key: conditions[key] for key in names if key in conditions}


def browser_of(device: Device) -> Reading:
    """Return in which browser a device's results were taken; empty for those without one."""
    return device.identity.get("browser", "")


_FORMERLY = {"bionic": "android"}
"""Builds of kits that earlier results call otherwise."""


def _runner_build(conditions: Mapping[str, Reading]) -> Reading:
    """Return the build of the kit that the runner was of, as its description ends with it."""
    told = re.search(r"\((\w+) build\)$", str(conditions.get("runner", "")))
    return _FORMERLY.get(told[1], told[1]) if told else UNAVAILABLE


def _chosen_options(conditions: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return what was chosen for an engine, beside its defaults, by name."""
    chosen = conditions.get("chosen_options", ())
    texts = chosen if isinstance(chosen, tuple) else ()
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def first_difference(
    a: Mapping[str, Reading], b: Mapping[str, Reading]
) -> tuple[str, Reading, Reading] | None:
    """Return the first condition in which two results differ, and its two values; None if alike.

    A condition that is missing counts as ``unavailable``. Conditions that this release does not
    know come last, by name.
    """
    others = sorted({*a, *b}.difference(_NAMES))
    for key in (*_NAMES, *others):
        here, there = a.get(key, UNAVAILABLE), b.get(key, UNAVAILABLE)
        if here != there and not (key in _NOT_ALWAYS_TOLD and UNAVAILABLE in (here, there)):
            return key, here, there
    return None


def demand_alike(
    a: Mapping[str, Reading], b: Mapping[str, Reading], name_a: str, name_b: str
) -> None:
    """Refuse to compare results that were not taken alike.

    Args:
        a: what `conditions_of` returned for one result.
        b: the same for the other.
        name_a: of the first result, for the message.
        name_b: of the second.

    Raises:
        UsageError: they differ in a condition; names the first one and its two values.
    """
    difference = first_difference(a, b)
    if difference is None:
        return
    key, here, there = difference
    title = clean(key.replace("_", " "))
    raise UsageError(
        f"{name_a} and {name_b} cannot be compared: {title} is {reading(here)} for the first and "
        f"{reading(there)} for the second.",
        "Measure both on one device in one run: 'mvdeploy compare A B' with the two files.",
    )
