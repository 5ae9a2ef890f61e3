"""In which ways networks and files are measured: format, engine and precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from mvdeploy import engines, formats, links
from mvdeploy.errors import UsageError
from mvdeploy.records import DeviceProfile, Finding, Level

ALL = "all"
"""Stands for every engine that the device can run."""


def several(engines_asked: tuple[str, ...]) -> bool:
    """Say whether more than one engine is asked for."""
    return ALL in engines_asked or len(engines_asked) > 1


@dataclasses.dataclass(frozen=True)
class Way:
    """How a network or a file is measured.

    Attributes:
        format: that it is exported to.
        engine: that runs it.
        precision: that it is exported in; None for the format's usual one.
        emulated: why it is not computed in the precision's own numbers; empty when it is.
        marked: whether the engine is not the one that runs the format on the device by default, so
            that names have to say which.
        threads: of inference; None for those of the plan.
    """

    format: str
    engine: str
    precision: str | None = None
    emulated: str = ""
    marked: bool = False
    threads: int | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        device: where.
        formats: of networks; empty for those of the engines asked for, else the device's usual.
        precisions: of networks; None for each format's usual one.
        engines: empty for the first of each format; `ALL` for every one.
        force: also what the device computes in other numbers than the precision's own.
        threads: numbers of inference threads, if there are several.
    """

    device: DeviceProfile
    formats: tuple[str, ...] = ()
    precisions: tuple[str | None, ...] = (None,)
    engines: tuple[str, ...] = ()
    force: bool = False
    threads: tuple[int, ...] = ()

    @property
    def every(self) -> bool:
        """Whether all engines are asked for: what one of them cannot do is left out then."""
        return ALL in self.engines

    def chosen(self) -> tuple[str, ...]:
        """Return the engines that were asked for; empty for none.

        Raises:
            UsageError: there is no such engine, or the device or this machine does not have it.
        """
        there = links.engines_of(self.device)
        here = engines.run_by("host")
        local = self.device.link == "host"
        if self.every:
            return tuple(name for name in there if not (local and engines.missing(name)))
        for name in self.engines:
            engines.get(name)
            if name not in there:
                raise UsageError(
                    f"The engine '{name}' cannot be used on {self.device.title}.",
                    f"Choose one of: {', '.join(there)}.",
                )
            if local and name in here:
                engines.demand(name)
        return tuple(dict.fromkeys(self.engines))


def of_networks(choice: Choice) -> tuple[tuple[Way, ...], tuple[Finding, ...]]:
    """Return how networks are measured, and what is left out of all that might be, each once.

    Raises:
        UsageError: something that was asked for cannot be.
    """
    ways: list[Way] = []
    left_out: list[Finding] = []
    for format_name, engine in _pairs(choice):
        for precision in choice.precisions:
            try:
                ways.append(_way(choice, format_name, engine, precision))
            except UsageError as error:
                if not choice.every:
                    raise
                named = precision or formats.precisions_of(format_name)[0]
                values: dict[str, str | int | float] = {
                    "engine": engine,
                    "precision": named,
                    "reason": error.message.rstrip("."),
                }
                left_out.append(Finding("not_measured", Level.NOTE, values))
    if not ways:
        raise UsageError(
            f"No engine of {choice.device.title} can do that "
            f"({left_out[0].values['reason'] if left_out else 'none is installed'}).",
            "Leave --precision out, or name another one; --force measures what is emulated.",
        )
    return _with_threads(choice, dict.fromkeys(ways)), tuple(left_out)


def of_file(choice: Choice, path: Path, format_name: str, precision: str) -> tuple[Way, ...]:
    """Return how an exported file is measured: by each chosen engine that runs its format.

    Raises:
        UsageError: none of them does, or in no way that means something.
    """
    available = choice.chosen()
    fitting = [name for name in available if format_name in engines.get(name).FORMATS]
    if available and not fitting:
        raise UsageError(
            f"{path.name} is of the format '{format_name}', which {' and '.join(available)} "
            "cannot run.",
            "Leave --engine out, or name one that runs it.",
        )
    usual = engines.for_format(format_name, links.engines_of(choice.device))
    ways, refused = [], []
    for engine in fitting or [usual]:
        try:
            emulated = _demand(choice, engine, precision)
        except UsageError as error:
            refused.append(error)
            continue
        ways.append(Way(format_name, engine, precision, emulated, marked=engine != usual))
    if refused and (not choice.every or not ways):
        raise refused[0]
    return _with_threads(choice, ways)


def _with_threads(choice: Choice, ways: Iterable[Way]) -> tuple[Way, ...]:
    """Return the ways, each with every number of threads that is asked for."""
    numbers = choice.threads or (None,)
    return tuple(dataclasses.replace(way, threads=n) for way in ways for n in numbers)


def _pairs(choice: Choice) -> Iterator[tuple[str, str]]:
    """Give each format with each engine that it is measured on."""
    there, chosen = links.engines_of(choice.device), choice.chosen()
    asked = tuple(dict.fromkeys(choice.formats))
    if not chosen:
        usual = choice.device.formats or engines.get(there[0]).FORMATS[:1]
        for name in asked or usual:
            yield name, engines.for_format(name, there)
        return
    for name in asked:
        if not any(name in engines.get(engine).FORMATS for engine in chosen):
            having = engines.for_format(name, there)
            raise UsageError(
                f"{' and '.join(chosen)} cannot run the format '{name}'.",
                f"Leave --engine or --format out, or add --engine {having}.",
            )
    for engine in chosen:
        own = engines.get(engine).FORMATS
        wanted = [name for name in asked if name in own] if asked else own[:1]
        if not wanted and not choice.every:
            raise UsageError(
                f"The engine '{engine}' runs none of the formats {', '.join(asked)}.",
                f"Formats it runs: {', '.join(own)}.",
            )
        for name in wanted:
            yield name, engine


def _way(choice: Choice, format_name: str, engine: str, precision: str | None) -> Way:
    formats.check(format_name, precision)
    formats.check_options(format_name, formats.options(format_name, precision=precision))
    named = precision or formats.precisions_of(format_name)[0]
    usual = engines.for_format(format_name, links.engines_of(choice.device))
    emulated = _demand(choice, engine, named)
    return Way(format_name, engine, precision, emulated, marked=engine != usual)


def _demand(choice: Choice, engine: str, precision: str) -> str:
    """Return why an engine emulates a precision on a device; empty where it does not.

    Raises:
        UsageError: it cannot compute it, or emulates it and that is not what was asked for.
    """
    where = engines.architecture_of(choice.device)
    if reason := engines.lacks(engine, precision, where):
        raise UsageError(
            f"{engine} cannot run {precision} on {choice.device.title}: {reason}.",
            "Choose another --precision or --engine.",
        )
    reason = engines.emulated(engine, precision, where)
    if reason and not choice.force:
        raise UsageError(
            f"{engine} does not compute in {precision} on {choice.device.title}: {reason}.",
            f"Its latency says nothing of {precision}: choose another --precision, or measure it "
            "all the same with --force; the row says 'emulated' then.",
        )
    return reason
