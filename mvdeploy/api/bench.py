"""`mvdeploy.bench`: networks and files → a saved run."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mvdeploy import passes
from mvdeploy.api import _asked
from mvdeploy.api._calls import public, recorded
from mvdeploy.api._progress import Progress, steps
from mvdeploy.api.result import Result
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.pipeline import bench as running
from mvdeploy.pipeline import kept_exports, length, refusals
from mvdeploy.records import DeviceProfile, ModelSpec, Plan, Warmup

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.api.export import Exported

    Network: TypeAlias = str | os.PathLike[str] | nn.Module | ModelSpec | Exported


@public
def bench(
    networks: Network | Sequence[Network] | Mapping[str, nn.Module],
    *,
    device: str | DeviceProfile = "host",
    format: str | Sequence[str] | None = None,
    precision: str | Sequence[str] | None = None,
    engine: str | Sequence[str] | None = None,
    threads: int | str | Sequence[int] | None = None,
    example: Tensor | Sequence[Tensor] | None = None,
    patches: Any = None,
    image_size: int | tuple[int, int] | Sequence[int | tuple[int, int]] | None = None,
    batch: int | Sequence[int] | None = None,
    weights: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    seed: int = 0,
    iterations: int | None = None,
    min_time: float = length.MIN_TIME_S,
    max_time: float | None = None,
    target: float = 100 * Plan.target,
    sessions: int | None = None,
    warmup: int | None = None,
    cores: Sequence[int] | None = None,
    anchor: bool = False,
    breakdown: bool = True,
    profiler_cost: bool | None = None,
    pipeline: bool = False,
    first_run: bool | int = False,
    energy: bool = False,
    energy_time: float | None = None,
    sustained: str | float | None = None,
    interval: float | None = None,
    alternate: bool = False,
    force: bool = False,
    portable: bool = False,
    without_pass: str | Sequence[str] = (),
    keep_float: str | Sequence[str] = (),
    calibrate: str | os.PathLike[str] | int | None = None,
    calibration_method: str | None = None,
    percentile: float | None = None,
    photograph: str | os.PathLike[str] | None = None,
    model: str | nn.Module | ModelSpec | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, tuple[float, float]] | None = None,
    engine_options: Mapping[str, Any] | None = None,
    link_options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    path: str | os.PathLike[str] = "reports",
    cache: bool = True,
    progress: Progress = None,
) -> Result:
    """Measure networks and exported files, and check what the device computes.

    Networks are exported and verified first. All cases of a call take turns, so that they are
    compared under the same conditions. The run is saved after every session, in a folder of its
    own; an interrupt (KeyboardInterrupt) leaves what was measured there.

    Args:
        networks: what is measured; one or a list: a name, as `mvdeploy.export` takes it, the path
            of an exported file, what `mvdeploy.export` returned, an ``nn.Module`` (with `example`)
            or a `ModelSpec`. A dict gives names to ``nn.Module``.
        device: name of a profile, as ``mvdeploy devices`` lists it, the address of a device, or a
            profile; ``host`` for this machine.
        format: that networks are exported to, one or several; None for the device's usual.
        precision: that they are exported in, one or several; None for each format's usual one.
        engine: what runs them, one or several, or ``all``; None for the first of each format.
        threads: of inference: a number, several, or ``"1-4"``; None for the device's.
        example: what an ``nn.Module`` takes; see `mvdeploy.export`. It is that of all of them.
        patches: patch sizes, one configuration as ``(8, 4, 2)`` or a list of them.
        image_size: pixels: one number, or a tuple of height and width; a list of these for several.
        batch: images in one inference, one number or several; None for 1.
        weights: a checkpoint; None for seeded random weights.
        weights_key: which of its copies, if several fit.
        seed: of random weights and of the measuring order.
        iterations: measured inferences of each case; None to go by time.
        min_time: measured seconds of each case at least, where no iterations are given.
        max_time: measured seconds of each case at most; None for 60.
        target: stop when the median is known to ± this, percent.
        sessions: how often the engine sessions are made anew, at least.
        warmup: warm-up inferences of each session; None until the time is steady.
        cores: CPU numbers to run on; None for the device's.
        anchor: whether a fixed small network runs between, as a yardstick.
        breakdown: whether every operator is timed.
        profiler_cost: whether what an engine's profiler adds to operators is measured and taken
            off; None for where no iterations are given.
        pipeline: time also the stages around the inference, from a picture's bytes to an answer.
        first_run: start processes anew to see what the first answer costs; a number says how often.
        energy: measure also the energy of an inference, where something meters it.
        energy_time: seconds of each block that gives the energy; None for what the meter needs.
        sustained: run each case without a pause for so long, as ``"30m"`` or seconds, in the place
            of sessions; the result has no latencies then, but ``frame("intervals")``.
        interval: of that, seconds that are summed up in one row.
        alternate: of that, cases run in turns of one interval.
        force: measure also a precision that an engine emulates there.
        portable: export networks for any engine, not as the device's runs them fastest.
        without_pass: passes that networks do not go through.
        keep_float: modules, or patterns of them, that stay in float in programs of whole numbers.
        calibrate: images that scales of whole numbers are taken from; see `mvdeploy.export`.
        calibration_method: see `mvdeploy.export`.
        percentile: see `mvdeploy.export`.
        photograph: what is fed; None for one that is always there.
        model: the network that files without a manifest came from: their outputs are checked
            against it, and their operators get its categories. An ``nn.Module`` may also be the
            one that files were exported from by an earlier program.
        shapes: of inputs of files that leave dimensions free, as ``{"x": (1, 3, 224, 224)}``.
        values: least and largest value of inputs of files that are no images, by name.
        engine_options: what engines' sessions are opened with, by name, as ``{"spinning": "off"}``.
        link_options: how the device is reached, by name, as ``{"runner": "/data/bench"}``.
        time_limit: seconds after which one runner counts as hung.
        path: folder in which the run gets a folder of its own.
        cache: take exports that were kept, and keep those that are made.
        progress: True for a bar, or a function that is told of every step.

    Returns:
        The saved run. A case that failed is in it, with the reason; `Result.check` refuses that.

    Raises:
        UsageError: something that was given cannot be used; nothing was measured then.
        DeviceUnavailable: the device does not answer.
        MvdeployError: no case could be measured; of the kind that ended the first one.

    Example:
        >>> import mvdeploy
        >>> result = mvdeploy.bench("yardstick", format="pytorch", iterations=8, warmup=2)
        >>> len(result), result.failed
        (1, ())
        >>> result.best.p50_ms > 0
        True
    """
    given = dict(locals())
    profile, link = _asked.device(device, link_options)
    common = plan_fields(threads, cores, seed, time_limit, warmup, breakdown, profile)
    common |= energy_fields(energy, energy_time)
    common |= {"pipeline": pipeline, "starts": _starts(first_run)}
    plan = length.plan(
        common,
        iterations=_whole("iterations", iterations, 10_000_000),
        min_time_s=_positive("min_time", min_time),
        max_time_s=None if max_time is None else _positive("max_time", max_time),
        target=_positive("target", target, 100) / 100,
        sessions=_whole("sessions", sessions),
        anchor=anchor,
        profiler_cost=profiler_cost,
    )
    command = recorded(bench, given)
    wish = _asked.wish(calibrate, calibration_method, percentile)
    # Networks that this program holds live as long as `held` does.
    request, held = request_of(networks, given, plan, profile, link, command)
    request = dataclasses.replace(request, wish=wish)
    if (load := _sustained(given, common, len(request.cases))) is not None:
        request = dataclasses.replace(request, plan=load)
    result = measured(request, progress)
    del held
    return result


def request_of(
    networks: Any,
    given: Mapping[str, Any],
    plan: Plan,
    profile: DeviceProfile,
    link_options: Mapping[str, str],
    command: tuple[str, ...],
) -> tuple[running.Request, _asked.Subjects]:
    """Return what is to be measured, and what has to be kept meanwhile.

    Args:
        networks: that are measured; see `bench`.
        given: the keywords of the call.
        plan: how it is measured.
        profile: of the device.
        link_options: how it is reached.
        command: the call, for the record.

    Raises:
        UsageError: something that was given cannot be used.
    """
    names = ("example", "patches", "image_size", "weights", "weights_key", "seed")
    own = {name: given[name] for name in names}
    asked = _asked.Networks(**own, batch=given.get("batch"))
    subjects = _asked.subjects(networks, asked, given["model"])
    request = running.Request(
        subjects=subjects.found,
        formats=_asked.listed(given["format"]),
        precisions=_asked.listed(given["precision"]) or (None,),
        engines=_asked.listed(given["engine"]),
        force=given["force"],
        engine_options=_asked.engine_options(given["engine_options"], profile),
        link_options=link_options,
        device=profile,
        plan=plan,
        root=Path(given["path"]),
        photograph=_asked.path(given["photograph"]),
        said=_asked.said(given["shapes"], given["values"]),
        network=subjects.network,
        left_out=passes.known(_asked.listed(given["without_pass"])),
        keep_float=_asked.listed(given["keep_float"]),
        shelf=kept_exports.usual() if given["cache"] else None,
        portable=given["portable"],
        command=command,
    )
    return request, subjects


def measured(request: running.Request, progress: Progress) -> Result:
    """Measure, and return what was saved.

    Raises:
        MvdeployError: no case has a latency; of the kind that ended the first one.
    """
    refusals.demand_used(request)
    with steps(progress, running.step_count(request)) as announce:
        store = running.run(request, announce)
    result = Result(store.folder)
    if result.best is None and not request.plan.sustained_s:
        try:
            result.check()
        except MvdeployError as error:
            error.add(f"What was done is saved in {store.folder}.")
            raise
    return result


_OF_SESSIONS = (
    *("iterations", "min_time", "max_time", "target", "sessions", "time_limit", "anchor"),
    *("profiler_cost", "pipeline", "first_run", "energy", "energy_time"),
)
"""Keywords of sessions, and of what comes after."""


def _sustained(given: Mapping[str, Any], common: Mapping[str, Any], cases: int) -> Plan | None:
    """Return how is measured under load that does not end; None where that is not asked for.

    Raises:
        UsageError: the duration or the interval makes no sense, or another keyword would have no
            effect.
    """
    wanted = given["sustained"]
    if wanted is None:
        for name in ("interval", "alternate"):
            if given[name]:
                raise UsageError(
                    f"{name} says how the time of sustained is divided, which is not given.",
                    f"Give sustained too, or leave {name} out.",
                )
        return None
    usual = inspect.signature(bench).parameters
    for name in _OF_SESSIONS:
        if given[name] != usual[name].default:
            raise UsageError(
                f"{name} is about sessions and what comes after, and sustained has none.",
                f"Leave {name} out, or measure without sustained.",
            )
    return length.sustained(
        common,
        duration=wanted if isinstance(wanted, str) else f"{wanted:g}s",
        interval_s=given["interval"],
        alternate=given["alternate"],
        cases=cases,
    )


def _starts(first_run: bool | int) -> int:
    if isinstance(first_run, bool):
        return length.STARTS if first_run else 0
    return _whole("first_run", first_run, 1000, 2) or 0


def energy_fields(energy: bool, energy_time: float | None) -> dict[str, Any]:
    """Return the fields of a plan that say whether energy is measured.

    Raises:
        UsageError: a time is given, and no energy is asked for.
    """
    if energy_time is not None and not energy:
        raise UsageError(
            "energy_time says how long the blocks are that give the energy, and no energy is "
            "asked for.",
            "Give energy=True with it, or leave it out.",
        )
    block = None if energy_time is None else _positive("energy_time", energy_time, 600)
    return {"energy": energy, "energy_block_s": block}


def plan_fields(
    threads: int | str | Sequence[int] | None,
    cores: Sequence[int] | None,
    seed: int,
    time_limit: float | None,
    warmup: int | None,
    breakdown: bool,
    profile: DeviceProfile,
) -> dict[str, Any]:
    """Return the fields of a plan that do not say how long is measured.

    Raises:
        UsageError: one of them cannot be.
    """
    numbers = length.thread_numbers(tuple(map(str, _asked.listed(threads))))
    fields: dict[str, Any] = {
        "threads": numbers[0] if numbers else profile.threads,
        "sweep": numbers[1:],
        "cores": _asked.cores(cores, profile),
        "seed": seed,
        "time_limit_s": None if time_limit is None else _positive("time_limit", time_limit),
    }
    if warmup is not None:
        fields["warmup"] = Warmup(iterations=_whole("warmup", warmup, least=0))
    if not breakdown:
        fields["profile_iterations"] = 0
    return fields


def _whole(name: str, value: int | None, most: float = float("inf"), least: int = 1) -> int | None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most
    ):
        raise UsageError(f"{name} is {value!r}.", f"Give a whole number from {least} on.")
    return value


def _positive(name: str, value: float, most: float = float("inf")) -> float:
    if not isinstance(value, int | float) or not 0 < value <= most:
        raise UsageError(f"{name} is {value!r}.", "Give a number above 0.")
    return float(value)
