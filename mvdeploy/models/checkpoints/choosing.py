"""Which of the tensors in a file are the network's: the ones that fit, or the ones asked for."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.models.checkpoints import fitting, reading
from mvdeploy.models.checkpoints.entries import masked
from mvdeploy.models.checkpoints.files import Seen, Source, content, listed, seen, shown
from mvdeploy.models.checkpoints.fitting import Copy, Wanted

if TYPE_CHECKING:
    from mvdeploy.records import ImageRule, WeightsFile

_OWN_NETWORK = (
    "Build the network with such a classifier in a file of your own, and give FILE.py:FACTORY."
)
_USUAL_FLOAT = "float32"

ITSELF = "."
"""The key of tensors that lie in the file itself, without a prefix."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Tensors in a checkpoint that fit a network.

    Attributes:
        source: its files.
        copy: the tensors.
        wanted: the network.
    """

    source: Source
    copy: Copy
    wanted: Wanted

    def __str__(self) -> str:
        return _named(self.source, self.copy, self.wanted)

    @property
    def classes(self) -> int:
        """Outputs of its classifier."""
        return self.wanted.classes(self.copy.held)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left aside, and what became of pruned weights, in words."""
        notes = []
        if self.copy.aside:
            notes.append(f"left aside: {listed(list(self.copy.aside), first=1)}")
        if self.copy.masked:
            notes.append("pruned weights multiplied by their masks")
        return tuple(notes)

    @property
    def widened(self) -> tuple[str, ...]:
        """What is computed in another precision than it is saved in, in words."""
        kinds = {tensor.kind for tensor in self.copy.held.values() if "float" in tensor.kind}
        return tuple(f"{kind} taken as float32" for kind in sorted(kinds - {_USUAL_FLOAT}))

    def check_classes(self, asked: int | None) -> None:
        """Refuse another number of classes than its own.

        Raises:
            UsageError: another is asked for.
        """
        if asked not in (None, self.classes):
            raise UsageError(
                f"{self} has {self.classes} classes, not {asked}.",
                f"Leave out --num-classes, or give {self.classes}.",
            )

    def weights(self, channel_order: str, images: ImageRule) -> WeightsFile:
        """Return what a spec says of it.

        Args:
            channel_order: ``RGB`` or ``BGR``.
            images: how else images are prepared.
        """
        from mvdeploy.records import WeightsFile

        return WeightsFile(
            path=str(self.source.path),
            sha256=self.source.sha256,
            layout=self.wanted.layout,
            channel_order=channel_order,
            images=images,
            key=self.copy.key,
            notes=self.notes + self.widened,
        )


def find(
    source: Source, wanted: Sequence[Wanted], model: str | None = None, key: str | None = None
) -> Found:
    """Find the tensors of a network in a checkpoint.

    Args:
        source: the checkpoint.
        wanted: networks that it may be of, in all the names that are known.
        model: the one of them that it has to be of; None for any.
        key: where in the file the tensors are, if several fit.

    Raises:
        UsageError: nothing fits, or several do; or the file cannot be read.
    """
    held = seen(content(source, values=False), source.path)
    known = [*wanted, *filter(None, (one.bare() for one in wanted))]
    copies = [
        copy
        for entry, tensors in held.items()
        for plain in (tensors, masked(tensors, lambda original, _: original))
        if plain is not None
        for copy in fitting.copies(plain, known, entry, plain is not tensors)
    ]
    if not copies:
        raise _unknown(source, held, wanted)
    if key is not None:
        copies = _asked(source, copies, key)
    fitting_ones = {
        copy.names: Found(source, copy, one)
        for copy in reversed(copies)
        for one, fit in copy.fits
        if fit.perfect and model in (None, one.model)
    }
    if not fitting_ones:
        others = [copy for copy in copies if any(fit.perfect for _, fit in copy.fits)]
        raise _misfit(source, min(others or copies, key=lambda copy: _faults(copy, model)), model)
    return _only([*reversed(fitting_ones.values())])


def _faults(copy: Copy, model: str | None) -> int:
    faults = (fit.faults for one, fit in copy.fits if model in (None, one.model))
    return min(faults, default=len(copy.held))


def _asked(source: Source, copies: Sequence[Copy], key: str) -> list[Copy]:
    """Return what a key stands for: all of where tensors are, or its beginning or end."""
    wanted = "" if key == ITSELF else key.rstrip(".")
    exact = [copy for copy in copies if copy.key == wanted]
    near = [
        copy
        for copy in copies
        if wanted and f".{copy.key}.".find(f".{wanted}.") >= 0 and copy.key != wanted
    ]
    # Records without a key have an empty one.
    chosen = exact or near or ([] if key else list(copies))
    if not chosen:
        keys = dict.fromkeys(copy.key or ITSELF for copy in copies)
        raise UsageError(
            f"{source.path} has nothing of the network under '{shown(key)}'.",
            f"Give --weights-key {' or '.join(map(_typed, [*keys][:8]))}.",
        )
    return chosen


def _only(found: list[Found]) -> Found:
    """Return the only one of several, or the first where all are the same, bit by bit."""
    first, *others = found
    if not others:
        return first
    if reading.same(found):
        return first
    several_models = len({one.wanted.model for one in found}) > 1
    keys = [
        f"'{shown(one.copy.key or ITSELF)}'" + (f" ({one.wanted.model})" if several_models else "")
        for one in found
    ]
    raise UsageError(
        f"{first.source.path} holds {len(found)} copies of the network, and they differ: "
        f"{listed(keys, first=8)}.",
        f"Choose one, as in --weights-key {_typed(max(one.copy.key for one in found))}.",
    )


def _typed(key: str) -> str:
    """Return a key as it is typed: a lone point would be read as the end of the sentence."""
    return "'.'" if key == ITSELF else shlex.quote(shown(key))


def _named(source: Source, copy: Copy, wanted: Wanted) -> str:
    facts = [f"layout {wanted.layout}"] if wanted.layout else []
    facts += [f"entry '{shown(copy.key)}'"] if copy.key else []
    return f"{source.path} ({', '.join(facts)})" if facts else str(source.path)


# What is said of checkpoints that do not fit


def _unknown(
    source: Source, held: Mapping[str, Mapping[str, Seen]], wanted: Sequence[Wanted]
) -> UsageError:
    if not held:
        whole = content(source, values=False)
        if isinstance(whole, Mapping) and "param_groups" in whole:
            return UsageError(
                f"{source.path} holds the state of an optimizer, and no network.",
                "Give the file that holds the network's state dict.",
            )
        return UsageError(
            f"{source.path} holds no tensors under names.",
            "Give a file that holds a state dict, alone or as 'state_dict' or 'model'.",
        )
    names = max(held.values(), key=len)
    has = f"its {len(names)} tensors are named {listed(sorted(names)) or 'nothing'}"
    layouts = list(dict.fromkeys(one.layout for one in wanted))
    if layouts == [""]:
        return UsageError(
            f"{source.path} is no checkpoint of {wanted[0].model}: {has}, those of the network "
            f"{listed(sorted(wanted[-1].theirs))}.",
            "Give a checkpoint of this network.",
        )
    models = list(dict.fromkeys(one.model for one in wanted))
    return UsageError(
        f"{source.path} has none of the known layouts: {has}.",
        f"Give a checkpoint of {', '.join(models)} in the names of {', '.join(layouts)}.",
    )


def _misfit(source: Source, copy: Copy, model: str | None) -> UsageError:
    """Say in what the tensors differ that come nearest to a network."""
    fits = {one.model: (one, fit) for one, fit in copy.fits}
    near = min(fits, key=lambda name: (len(fits[name][1].reshaped), name != model))
    model = model or near
    wanted, fit = fits.get(model, fits[near])
    named = _named(source, copy, wanted)
    if wanted.lacks_classifier(copy.held):
        return _without_classifier(named, copy, wanted)
    if near == model:
        complete = "of the published architecture" if wanted.layout else "of this very network"
        remedy = f"Give a complete checkpoint {complete}."
        if fit.faults == len(fit.missing) and set(fit.missing) <= set(wanted.classifier):
            remedy = _OWN_NETWORK
        return UsageError(f"{named} does not fit {model}: {fit.text}.", remedy)
    is_like = "is" if fits[near][1].perfect else "looks like"
    differs = f": {fit.text}" if fit.text else ""
    return UsageError(
        f"{named} {is_like} a checkpoint of {near}, not of {model}{differs}.",
        f"Give the model {near}, or a checkpoint of {model}.",
    )


def _without_classifier(named: str, copy: Copy, wanted: Wanted) -> UsageError:
    around = {name.rpartition(".")[0] for name in wanted.classifier}
    other = sorted(name for name in copy.held if name.startswith(tuple(f"{p}." for p in around)))
    if other:
        return UsageError(
            f"{named} has another classifier than {wanted.model}: {listed(other)} in place of "
            f"{listed(list(wanted.classifier))}.",
            _OWN_NETWORK,
        )
    beside = [f".{name}" for name in (*copy.aside, *(f"{copy.prefix}{n}" for n in copy.held))]
    kind = "a network without its classifier"
    for prefix, meaning in wanted.heads:
        if any(f".{prefix}" in name for name in beside):
            kind = f"a checkpoint of {meaning}"
            break
    return UsageError(
        f"{named} is {kind}: it has no {wanted.classifier[0]}, so it cannot classify.",
        "Give a checkpoint that was trained for classification.",
    )
