"""What programs give → what the pipeline takes."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import formats, links, models, plugins
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import calibration, places, refusals
from mvdeploy.records import DeviceProfile, FileInputs, ModelSpec, PatchSize
from mvdeploy.records.spec import parse_image_size, parse_patches

if TYPE_CHECKING:
    from mvdeploy.models.zoo.held import Held
    from mvdeploy.plugins import Option


@dataclasses.dataclass(frozen=True)
class Networks:
    """How networks that are named, or given as they are, are built.

    Attributes:
        example: what networks that are given as objects take: a tensor, or a tuple of tensors.
        patches: one configuration, or several; see `configurations`.
        image_size: pixels: one number, or height and width; a list for several; None for the
            network's own.
        weights: a checkpoint; None for random weights.
        weights_key: which of its copies.
        seed: of random weights.
        batch: images in one inference, one number or several; None for the network's own.
    """

    example: Any = None
    patches: Any = None
    image_size: Any = None
    weights: str | os.PathLike[str] | None = None
    weights_key: str | None = None
    seed: int = 0
    batch: Any = None

    def given(self) -> list[str]:
        """Return the names of what is given for networks that are named."""
        values = {
            "patches": self.patches,
            "image_size": self.image_size,
            "batch": self.batch,
            "weights": self.weights,
            "weights_key": self.weights_key,
        }
        return [name for name, value in values.items() if value is not None]


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What is measured or exported.

    Attributes:
        found: networks and files, in the order in which they were given.
        held: networks that have to be kept meanwhile.
        network: the one that files without a manifest came from; None where that is not known.
    """

    found: tuple[ModelSpec | Path, ...]
    held: tuple[Held, ...] = ()
    network: ModelSpec | None = None


def subjects(networks: Any, asked: Networks, model: Any = None) -> Subjects:
    """Return what was given: one, several, or networks by names that they are to have.

    Args:
        networks: a name, a path of a file, an ``nn.Module``, a `ModelSpec` or what
            `mvdeploy.export` returned; a list of these; or a dict of names and ``nn.Module``.
        asked: how they are built.
        model: the network that files came from; None where that is not said.

    Raises:
        UsageError: one of them is none of these, or cannot be built; or there is none.
    """
    pairs = _named_by_user(networks)
    if not pairs:
        raise UsageError("There is nothing to measure.", "Give a model, a file or an nn.Module.")
    parts = [_subjects_of(name, network, asked) for name, network in pairs]
    found = tuple(one for part in parts for one in part.found)
    held = tuple(one for part in parts for one in part.held)
    by_name = any(isinstance(n, str) and _file(n) is None for _, n in pairs)
    network = None
    if model is not None:
        network, kept = _network_of_files(model, asked)
        by_name, held = by_name or not kept, (*held, *kept)
        # A file with a manifest says which network it came from; that it is there is all it takes.
        if kept and all(formats.has_manifest(one) for one in found if isinstance(one, Path)):
            network = None
    if asked.given() and not by_name:
        raise UsageError(
            f"{' and '.join(asked.given())} can be chosen of networks that are given by name.",
            "Leave out what is not for these, or give a model's name.",
        )
    if asked.example is not None and not held:
        raise UsageError(
            "An example says what an nn.Module takes, and none is given.", "Leave it out."
        )
    return Subjects(found, held, network)


def _named_by_user(networks: Any) -> list[tuple[str, Any]]:
    """Return what was given, each with the name that it is to have; empty for its own."""
    if isinstance(networks, Mapping):
        return [(str(name), network) for name, network in networks.items()]
    several = networks if isinstance(networks, list | tuple) else [networks]
    return [("", network) for network in several]


def _subjects_of(name: str, network: Any, asked: Networks) -> Subjects:
    """Return what one of several stands for.

    Raises:
        UsageError: it is none of what can be measured, or cannot be built.
    """
    file = _file(network)
    if name and (file is not None or isinstance(network, str | ModelSpec)):
        raise UsageError(
            f"'{name}' is a name for {network}, which has one.",
            "Give names to nn.Modules only; all others in a list.",
        )
    if file is not None:
        return Subjects((file,))
    if isinstance(network, ModelSpec):
        return Subjects((network,))
    if isinstance(network, str):
        return Subjects(tuple(specs(network, asked)))
    held = _held(network, asked.example, name)
    return Subjects((held.spec,), (held,))


def _network_of_files(model: Any, asked: Networks) -> tuple[ModelSpec, list[Held]]:
    """Return the network that files came from, and what has to be kept of it.

    Raises:
        UsageError: it is none, or several.
    """
    if isinstance(model, ModelSpec):
        return model, []
    if not isinstance(model, str):
        held = _held(model, asked.example, "")
        return held.spec, [held]
    named = specs(model, asked)
    if len(named) > 1:
        raise UsageError(
            f"A file came from one network, and these choices make {len(named)} of {model}.",
            "Give one configuration of patches, and one size.",
        )
    return named[0], []


def said(shapes: Mapping[str, Any] | None, values: Mapping[str, Any] | None) -> FileInputs:
    """Return what is said of the inputs of files, by their names.

    Raises:
        UsageError: a shape has no whole numbers, or a range no least and largest value.
    """
    read_shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in (shapes or {}).items():
        sizes = _pair(shape)
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise UsageError(
                f"{shape!r} is no shape of '{name}'.",
                "Give numbers, as in {'x': (1, 3, 224, 224)}.",
            )
        read_shapes[name] = sizes
    read_values: dict[str, tuple[float, float]] = {}
    for name, limits in (values or {}).items():
        pair = _pair(limits)
        plain = len(pair) == 2 and all(isinstance(end, int | float) for end in pair)
        if not plain or not -math.inf < pair[0] <= pair[1] < math.inf:
            raise UsageError(
                f"{limits!r} is no range of values of '{name}'.",
                "Give the least and the largest, as in {'ids': (0, 999)}.",
            )
        read_values[name] = (float(pair[0]), float(pair[1]))
    return FileInputs(read_shapes, read_values)


def _file(network: Any) -> Path | None:
    """Return the file that is meant; None for a network."""
    path = getattr(network, "path", None)
    if isinstance(path, Path) and hasattr(network, "artifact"):
        return path  # what was exported
    if isinstance(network, str):
        return places.file_named(network)
    if not isinstance(network, os.PathLike):
        return None
    if places.file_named(str(network)) is None:
        raise UsageError(f"There is no file {network}.", "Check the path.")
    return Path(network)


def _held(network: Any, example: Any, name: str) -> Held:
    from mvdeploy.models.zoo import held

    return held.hold(network, example, name)


def specs(name: str, asked: Networks) -> list[ModelSpec]:
    """Return a network that is named, with every configuration of patches, size and batch.

    Raises:
        UsageError: it cannot be built.
    """
    sizes = asked.image_size if isinstance(asked.image_size, list) else [asked.image_size]
    batches = listed(asked.batch)
    for batch in batches:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise UsageError(f"batch is {batch!r}.", "Give a whole number from 1 on.")
    found = [
        models.make_spec(
            name,
            patches=configuration,
            image_size=size,
            seed=asked.seed,
            weights=Path(asked.weights) if asked.weights is not None else None,
            weights_key=asked.weights_key,
        )
        for configuration in configurations(asked.patches)
        for size in dict.fromkeys(map(_image_size, sizes))
    ]
    return [spec.with_batch(n) for spec in found for n in batches or (spec.batch,)]


def configurations(patches: Any) -> tuple[tuple[PatchSize, ...] | None, ...]:
    """Return patch sizes, one configuration or several.

    Args:
        patches: ``(8, 4, 2)``, ``"8,4,2"`` or ``((4, 2), 2, 2)`` with height and width; a list of
            these for several; None for the network's own.

    Raises:
        UsageError: it is none of these.
    """
    if patches is None:
        return (None,)
    if isinstance(patches, list | tuple) and patches and all(map(_is_whole, patches)):
        return tuple(parse_patches(_patches_text(one)) for one in patches)
    return (parse_patches(_patches_text(patches)),)


def _is_whole(entry: Any) -> bool:
    """Say whether an entry is a configuration, and not the patch size of one stage."""
    return "," in entry if isinstance(entry, str) else len(_pair(entry)) > 2


def _pair(entry: Any) -> tuple[Any, ...]:
    return tuple(entry) if isinstance(entry, list | tuple) else (entry,)


def _patches_text(patches: Any) -> str:
    if isinstance(patches, str):
        return patches
    return ",".join("x".join(map(str, _pair(entry))) for entry in _pair(patches))


def _image_size(size: Any) -> tuple[int, int] | None:
    return None if size is None else parse_image_size(",".join(map(str, _pair(size))))


def listed(value: Any) -> tuple[Any, ...]:
    """Return one or several values as a tuple, each once; None as none."""
    if value is None:
        return ()
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(dict.fromkeys(several))


def cores(numbers: Iterable[int] | None, profile: DeviceProfile) -> tuple[int, ...]:
    """Return CPU numbers; those of a device for None.

    Raises:
        UsageError: one of them is none.
    """
    if numbers is None:
        return profile.cores
    given = tuple(numbers)
    if not all(isinstance(number, int) and number >= 0 for number in given):
        raise UsageError(f"{given} are no CPU numbers.", "Give them as in cores=[0, 1].")
    return given


def device(
    name: str | DeviceProfile, link_options: Mapping[str, Any] | None
) -> tuple[DeviceProfile, dict[str, str]]:
    """Return the profile of a device, and how it is reached.

    Raises:
        UsageError: there is no such device, or no such option.
        DeviceUnavailable: it is attached, but not ready.
    """
    given = _options(link_options, links.declared(), "option of a link")
    if isinstance(name, DeviceProfile):
        return name, given
    return links.profile(name, (), given), given


def engine_options(given: Mapping[str, Any] | None, profile: DeviceProfile) -> dict[str, str]:
    """Return the options that engines' sessions are opened with, by name.

    Raises:
        UsageError: no engine of the device has one of them.
    """
    options = _options(given, refusals.engine_options(), "option of an engine")
    refusals.demand_had(profile, options)
    return options


def _options(
    given: Mapping[str, Any] | None, declared: Sequence[Option], noun: str
) -> dict[str, Any]:
    known = {option.name: option for option in declared}
    return {name: chosen(known, name, value, noun) for name, value in (given or {}).items()}


def chosen(known: Mapping[str, Option], name: str, value: Any, noun: str) -> Any:
    """Return the value of a declared option, checked as one that is typed is.

    Args:
        known: all options, by name.
        name: of the option.
        value: that was given; text is read as if it were typed.
        noun: what the option is, for messages.

    Raises:
        UsageError: there is no such option, or it has no such value.
    """
    if name not in known:
        raise plugins.unknown(noun, name, tuple(known))
    option = known[name]
    if option.is_switch:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}.", "Give True or False.")
        return value
    if option.choices and value not in option.choices:
        raise plugins.unknown(f"value of {name}:", str(value), option.choices)
    return option.read(str(value))


def wish(
    images: str | os.PathLike[str] | int | None, method: str | None, percentile: float | None
) -> calibration.Wish:
    """Return what scales of whole numbers are taken from.

    Raises:
        UsageError: a number or method that cannot be, or a folder that is not there.
    """
    return calibration.read(None if images is None else str(images), method, percentile)


def path(value: str | os.PathLike[str] | None) -> Path | None:
    """Return a path; None for None."""
    return None if value is None else Path(value)
