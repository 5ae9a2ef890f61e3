"""What is refused before anything is made: what a measurement was asked for and would not use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mvdeploy import engines, links
from mvdeploy.errors import UsageError
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile

if TYPE_CHECKING:
    from mvdeploy.pipeline.bench import Request


def engine_options() -> tuple[Option, ...]:
    """Return the options that engines declare, each once."""
    own_options = (option for name in engines.names() for option in engines.declared(name))
    return tuple(dict.fromkeys(own_options))


def demand_had(profile: DeviceProfile, given: Mapping[str, str]) -> None:
    """Refuse options that no engine of a device has.

    Args:
        profile: of the device.
        given: options of engines, by name.

    Raises:
        UsageError: names the option and the engines that have it.
    """
    available = links.engines_of(profile)
    for option in engine_options():
        having = [e for e in engines.names() if option in engines.declared(e)]
        if option.name in given and not set(having) & set(available):
            raise UsageError(
                f"No engine of {profile.title} has {option.flag}.",
                f"Leave it out, or measure on a device with {' or '.join(having)}.",
            )


def demand_used(request: Request) -> None:
    """Refuse engines that run none of the cases, options of such engines, and what files are not.

    Raises:
        UsageError: names the engine, or the option and the engines that have it.
    """
    if not request.specs:
        _demand_files_are(request)
    from mvdeploy.pipeline.ways import ALL

    used = {case.engine for case in request.cases}
    idle = [name for name in request.engines if name != ALL and name not in used]
    if idle:
        raise UsageError(
            f"{' and '.join(idle)} cannot run any of what is to be measured.",
            f"Leave --engine {idle[0]} out, or add a file or a model that it runs.",
        )
    for option in engine_options():
        having = [e for e in engines.names() if option in engines.declared(e)]
        if option.name in request.engine_options and not used & set(having):
            have = "has" if len(used) == 1 else "have"
            raise UsageError(
                f"{' and '.join(sorted(used))} {have} no {option.flag}.",
                f"Leave it out, or measure with --engine {' or '.join(having)}.",
            )


def _demand_files_are(request: Request) -> None:
    """Refuse formats and precisions that none of the files has, which are measured as they are.

    Raises:
        UsageError: names the first of them, or an option that is about exporting.
    """
    exporting = {
        "--portable": request.portable,
        "--keep-float": request.keep_float,
        "--calibrate": request.wish != type(request.wish)(),
    }
    for flag in (flag for flag, given in exporting.items() if given):
        raise UsageError(
            f"Exported files are measured as they are, and {flag} says how networks are exported.",
            f"Leave {flag} out, or give a network.",
        )
    artifacts = [artifact for _, artifact in request.files]
    asked = (
        ("--format", request.formats, {artifact.format for artifact in artifacts}),
        ("--precision", request.precisions, {artifact.precision for artifact in artifacts}),
    )
    for flag, wanted, there in asked:
        other = [name for name in wanted if name is not None and name not in there]
        if other:
            raise UsageError(
                f"Exported files are measured as they are, and none is in {other[0]}.",
                f"Leave {flag} out, or export one with 'mvdeploy export {flag} {other[0]}'.",
            )


def demand_two(request: Request) -> None:
    """Refuse to compare anything but two cases, with the same number of threads.

    Raises:
        UsageError: there are others.
    """
    if len(request.cases) != 2:
        names = ", ".join(case.label for case in request.cases)
        raise UsageError(
            f"Two are compared at a time, but this makes {len(request.cases)} ({names}).",
            "Give two models or files, or one model with two --patches or two --format.",
        )
    if request.plan.sweep:
        raise UsageError(
            "Cases that take turns inference by inference have the same number of threads.",
            "Give --threads once; 'mvdeploy bench' measures with several.",
        )
