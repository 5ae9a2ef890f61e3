"""What can be chosen about a file: its format, its precision, and what the format declares."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from mvdeploy import plugins, precisions
from mvdeploy.errors import UsageError
from mvdeploy.plugins import Option
from mvdeploy.quantization import Target
from mvdeploy.records import Artifact

_FORMATS = "mvdeploy.formats"

DYNAMIC = "batch"
"""Stands in a shape where any number will do."""

_OPTION = "option"


def option(
    default: Any,
    flag: str,
    help: str,
    *,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    read: Callable[[str], Any] = str,
) -> Any:
    """Declare a field of a format's ``Options``; see `mvdeploy.plugins.Option`."""
    declared = Option("", flag, help, metavar, choices, read=read)
    return dataclasses.field(default=default, metadata={_OPTION: declared})


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a file beyond its format.

    Attributes:
        precision: one of `mvdeploy.precisions`; None for the format's usual one.
        formulation: one of `mvdeploy.passes.FORMULATIONS`; None for the one that suits the format.
        dynamic_batch: any number of images can be fed, instead of as many as the spec says.
        own: the format's own ``Options``; None for its defaults.
        keep_float: patterns of modules that stay in float, whatever the precision quantises.
    """

    precision: str | None = None
    formulation: str | None = None
    dynamic_batch: bool = False
    own: Any = None
    keep_float: tuple[str, ...] = ()


DEFAULTS = Options()


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return plugins.names(_FORMATS)


def get(format_name: str) -> ModuleType:
    """Return the file of a format.

    Raises:
        UsageError: there is no such format.
    """
    return plugins.load(_FORMATS, format_name, "format")


def check(format_name: str, precision: str | None = None) -> None:
    """Refuse a format or precision that does not exist.

    Raises:
        UsageError: there is no such format or precision.
    """
    if format_name not in names():
        raise plugins.unknown("format", format_name, names())
    if precision is not None:
        precisions.get(precision)


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option and the formats that have it."""

    option: Option
    formats: tuple[str, ...]


def declared() -> tuple[Declared, ...]:
    """Return the options of all formats, each flag once, in the order of the formats."""
    by_flag: dict[str, Declared] = {}
    for name in names():
        for own_option in _own(get(name)).values():
            before = by_flag.get(own_option.flag)
            formats = (*before.formats, name) if before else (name,)
            by_flag[own_option.flag] = Declared(before.option if before else own_option, formats)
    return tuple(by_flag.values())


def options(
    format_name: str,
    given: Mapping[str, Any] | None = None,
    *,
    precision: str | None = None,
    formulation: str | None = None,
    dynamic_batch: bool = False,
    keep_float: tuple[str, ...] = (),
) -> Options:
    """Return the options of a format from values by name.

    Args:
        format_name: of the format.
        given: values of its own options, and of other formats': those that are None, False or
            empty were not asked for.
        precision: see `Options`, as are the others.
        formulation: see above.
        dynamic_batch: see above.
        keep_float: see above.

    Raises:
        UsageError: the format lacks one that is asked for.
    """
    exporter = get(format_name)
    asked = {name: value for name, value in (given or {}).items() if value}
    own = _own(exporter)
    for declaration in declared():
        if declaration.option.name in asked and declaration.option.name not in own:
            raise _lacking(format_name, declaration.option.flag, declaration.formats)
    chosen = exporter.Options(**asked) if own else None
    return Options(precision, formulation, dynamic_batch, chosen, keep_float)


def check_options(format_name: str, options: Options) -> None:
    """Refuse options that a format does not have, or that cannot be.

    Raises:
        UsageError: names the option.
    """
    exporter = get(format_name)
    if options.own is not None and not isinstance(options.own, _own_type(exporter) or ()):
        raise UsageError(
            f"The options {options.own!r} are not those of the format {format_name}.",
            f"Give those that mvdeploy.formats.{format_name} has.",
        )
    if options.dynamic_batch and not getattr(exporter, "DYNAMIC_BATCH", False):
        having = [name for name in names() if getattr(get(name), "DYNAMIC_BATCH", False)]
        raise _lacking(format_name, "--batch dynamic", having)
    possible = precisions_of(format_name)
    if precision(format_name, options) not in possible:
        raise UsageError(
            f"The format {format_name} is not written in {options.precision}.",
            f"Give --precision {' or '.join(possible)}.",
        )
    if hasattr(exporter, "check"):
        exporter.check(complete(format_name, options))
    whole = target(format_name, options)
    if options.keep_float and whole is None:
        raise UsageError(
            f"Nothing is quantised in {format_name} as {precision(format_name, options)}, or "
            "weights alone: there is nothing to keep in float.",
            "Leave out --keep-float, or give --precision int8-fast.",
        )


def complete(format_name: str, options: Options) -> Options:
    """Return options with the format's own and its usual precision where none are given."""
    own_type = _own_type(get(format_name))
    return dataclasses.replace(
        options,
        precision=precision(format_name, options),
        own=options.own if options.own is not None or own_type is None else own_type(),
    )


def _own_type(exporter: ModuleType) -> type[Any] | None:
    own_type: type[Any] | None = getattr(exporter, "Options", None)
    # The name may also be the one that is imported from here.
    return None if own_type is Options else own_type


def _own(exporter: ModuleType) -> dict[str, Option]:
    """Return the declared options of a format by the names of their fields."""
    own_type = _own_type(exporter)
    fields = dataclasses.fields(own_type) if own_type is not None else ()
    return {f.name: f.metadata[_OPTION]._replace(name=f.name) for f in fields}


def _lacking(format_name: str, flag: str, having: Sequence[str]) -> UsageError:
    return UsageError(
        f"The format {format_name} has no {flag}.",
        f"Leave it out, or use --format {' or '.join(having)}.",
    )


def precisions_of(format_name: str) -> tuple[str, ...]:
    """Return the precisions that a format can be written in, the usual one first."""
    own: tuple[str, ...] = get(format_name).PRECISIONS
    others = (n for n in precisions.names() if format_name in precisions.get(n).formats)
    return tuple(dict.fromkeys((*own, *others)))


def precision(format_name: str, options: Options) -> str:
    """Return what a format is written in: as is asked for, or as is usual."""
    return options.precision or precisions_of(format_name)[0]


def target(format_name: str, options: Options) -> Target | None:
    """Return what is computed in whole numbers in a file; None where nothing is.

    Raises:
        UsageError: the format has no such programs with these options.
    """
    scheme = precisions.get(precision(format_name, options)).scheme
    own = getattr(get(format_name), "quantised", None)
    if scheme is None or own is None:
        return None
    found: Target | None = own(complete(format_name, options))
    return found


def formulation(format_name: str, options: Options) -> str | None:
    """Return how the network is to be written: as is asked for, or as suits the format best.

    Returns:
        One of `mvdeploy.passes.FORMULATIONS`; None if the format takes the network as it is.
    """
    if options.formulation is not None:
        return options.formulation
    best = getattr(get(format_name), "formulation", None)
    preferred: str | None = best(complete(format_name, options)) if best is not None else None
    return preferred


def kept(options: Options) -> tuple[str, ...]:
    """Return what the name of a file says of modules that stay in float."""
    if not options.keep_float:
        return ()
    digest = hashlib.sha256("\0".join(options.keep_float).encode()).hexdigest()
    return (f"kept-{digest[:6]}",)


def marks(format_name: str, options: Options) -> tuple[str, ...]:
    """Return what a file's name says of the options that it is made with."""
    own: Callable[[Options], tuple[str, ...]] | None = getattr(get(format_name), "marks", None)
    whole = complete(format_name, options)
    return own(whole) if own is not None else (str(whole.precision),)


def twin(format_name: str, options: Options) -> Options | None:
    """Return how the program is made that is measured instead; None when it is measured itself."""
    own = getattr(get(format_name), "twin", None)
    instead = own(complete(format_name, options)) if own is not None else None
    return None if instead is None else dataclasses.replace(options, own=instead)


def options_of(artifact: Artifact) -> Options:
    """Return the options that make a file like one that there is."""
    own = getattr(get(artifact.format), "options_of", None)
    return Options(
        artifact.precision,
        dynamic_batch=any(DYNAMIC in tensor.shape for tensor in artifact.inputs),
        own=own(artifact) if own is not None else None,
        keep_float=artifact.quantized.kept if artifact.quantized is not None else (),
    )
