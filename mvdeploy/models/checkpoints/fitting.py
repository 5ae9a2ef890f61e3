"""How the tensors in a file agree with those of a network: by names and shapes, without torch."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mvdeploy.models.checkpoints.files import Seen, Shape, listed

Shapes = Mapping[str, Shape]
"""Shapes of tensors by name."""

COUNTER = "num_batches_tracked"  # plays no part in inference; old checkpoints lack it
_MOST_PREFIXES = 64


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A network that a checkpoint may be of, in the names of one library.

    Attributes:
        layout: whose names they are; empty for those of the network itself.
        model: name of the network.
        usual: its number of classes, if a checkpoint does not tell.
        names: of each of its tensors in the checkpoint; several are parts of it, which are stacked
            along their first dimension.
        shapes: of its tensors, by number of classes.
        heads: what a checkpoint is that has tensors with these prefixes besides.
    """

    layout: str
    model: str
    usual: int
    names: Mapping[str, tuple[str, ...]]
    shapes: Callable[[int], Shapes]
    heads: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def theirs(self) -> frozenset[str]:
        """Names of all tensors in the checkpoint."""
        return frozenset(name for names in self.names.values() for name in names)

    @functools.cached_property
    def _sides(self) -> dict[str, tuple[Shape, Shape]]:
        """Shapes of all tensors in the checkpoint, with two and with three classes."""
        two, three = self._parts(2), self._parts(3)
        return {name: (shape, three[name]) for name, shape in two.items()}

    def _parts(self, classes: int) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for ours, shape in self.shapes(classes).items():
            parts = self.names[ours]
            part = (shape[0] // len(parts), *shape[1:]) if len(parts) > 1 else shape
            shapes |= dict.fromkeys(parts, part)
        return shapes

    @functools.cached_property
    def classifier(self) -> tuple[str, ...]:
        """Names of the tensors that change with the number of classes, as ``head.fc.weight``."""
        return tuple(name for name, (two, three) in self._sides.items() if two != three)

    def expected(self, classes: int) -> dict[str, Shape]:
        """Return the shapes of all tensors in the checkpoint; they grow evenly with the classes."""
        return {
            name: tuple(
                side + (classes - 2) * (more - side) for side, more in zip(two, three, strict=True)
            )
            for name, (two, three) in self._sides.items()
        }

    def classes(self, held: Mapping[str, Seen]) -> int:
        """Return the outputs of the classifier among some tensors; at least one."""
        for name in self.classifier:
            if name in held and held[name].shape:
                two, three = self._sides[name]
                axis = next(
                    a for a, pair in enumerate(zip(two, three, strict=True)) if pair[0] != pair[1]
                )
                if axis < len(held[name].shape):
                    more = held[name].shape[axis] - two[axis]
                    return max(1, 2 + more // (three[axis] - two[axis]))
        return self.usual

    def bare(self) -> Wanted | None:
        """Return the names that the network has without its classifier, if these are others.

        transformers puts what comes before the classifier into a module that is also saved alone.
        """
        ends = set(self.classifier)
        around = {name.partition(".")[0] for name in self.theirs - ends}
        if len(around) != 1 or not ends:
            return None
        prefix = f"{around.pop()}."
        names = {
            ours: tuple(name if name in ends else name.removeprefix(prefix) for name in theirs)
            for ours, theirs in self.names.items()
        }
        return dataclasses.replace(self, names=names)

    def lacks_classifier(self, held: Mapping[str, Seen]) -> bool:
        """Say whether nothing of the classifier is among some tensors."""
        return bool(self.classifier) and not any(name in held for name in self.classifier)


@dataclasses.dataclass(frozen=True)
class Fit:
    """How tensors agree with those of a network, under the names in the checkpoint."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def perfect(self) -> bool:
        """Nothing differs."""
        return not self.faults

    @property
    def faults(self) -> int:
        """In how many tensors they differ."""
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    @property
    def text(self) -> str:
        """Name the first few of each kind, and say how many there are."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected}
        parts = [f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds.items() if names]
        if self.reshaped:
            parts.append(f"{len(self.reshaped)} of another shape ({listed(self.reshaped)})")
        return ", ".join(parts)


def fit(held: Mapping[str, Seen], wanted: Wanted) -> Fit:
    """Compare tensors with those of a network with as many classes."""
    expected = wanted.expected(wanted.classes(held))
    missing = expected.keys() - held.keys()
    both = sorted(expected.keys() & held.keys())
    return Fit(
        missing=sorted(name for name in missing if not name.endswith(COUNTER)),
        unexpected=sorted(held.keys() - expected.keys()),
        reshaped=[
            f"{name}: {_text(held[name].shape)} for {_text(expected[name])}"
            for name in both
            if expected[name] != held[name].shape
        ],
    )


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"


@dataclasses.dataclass(frozen=True)
class Copy:
    """Tensors in a file that may be a network's: those of one dict under one prefix.

    Attributes:
        entry: where the dict is; empty for the file itself.
        masked: pruning masks are applied.
        prefix: of their names: ``model.``; or empty.
        held: the tensors, without the prefix.
        aside: names of the other tensors in the dict.
        fits: how they agree with each of the networks that have these names.
    """

    entry: str
    masked: bool
    prefix: str
    held: Mapping[str, Seen]
    aside: tuple[str, ...]
    fits: tuple[tuple[Wanted, Fit], ...]

    @property
    def key(self) -> str:
        """What chooses it: where its dict is, and the prefix; empty for the file itself."""
        return ".".join(filter(None, (self.entry, self.prefix.rstrip("."))))

    @property
    def names(self) -> tuple[str, bool, frozenset[str]]:
        """Which tensors of the file they are."""
        return self.entry, self.masked, frozenset(f"{self.prefix}{name}" for name in self.held)


def copies(
    held: Mapping[str, Seen], wanted: Sequence[Wanted], entry: str, masked: bool
) -> Iterator[Copy]:
    """Find the prefixes under which a dict has tensors of one of some networks.

    Where one lies within another, the outer one is without the tensors of the inner one if these
    are complete.
    """
    ordered = sorted(held)
    for group in _groups(wanted):
        names = group[0].theirs
        found: dict[str, Copy] = {}
        hits = _prefixes(held, names)
        for prefix in sorted(hits, key=len, reverse=True):
            start = bisect.bisect_left(ordered, prefix)
            end = bisect.bisect_left(ordered, f"{prefix}\U0010ffff") if prefix else len(ordered)
            if 2 * hits[prefix] < min(len(names), end - start) or 10 * hits[prefix] < len(names):
                continue  # a name or two in common are chance
            inner = {
                f"{copy.prefix}{name}"
                for copy in found.values()
                if copy.prefix.startswith(prefix) and any(fit.perfect for _, fit in copy.fits)
                for name in copy.held
            }
            taken = [name for name in ordered[start:end] if name not in inner]
            under = {name.removeprefix(prefix): held[name] for name in taken}
            aside = tuple(sorted(held.keys() - set(taken)))
            fits = tuple((one, fit(under, one)) for one in group)
            found[prefix] = Copy(entry, masked, prefix, under, aside, fits)
        yield from (found[prefix] for prefix in hits if prefix in found)


def _groups(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """Put together the networks that have the same names."""
    groups: dict[tuple[str, frozenset[str]], list[Wanted]] = {}
    for one in wanted:
        groups.setdefault((one.layout, one.theirs), []).append(one)
    return list(groups.values())


def _prefixes(held: Iterable[str], names: frozenset[str]) -> dict[str, int]:
    """Return the prefixes that most of a network's names are met with, and how many of them."""
    deepest = max(name.count(".") for name in names) + 1
    hits: Counter[str] = Counter()
    for name in held:
        end = len(name)
        for part in reversed(name.rsplit(".", deepest)[-deepest:]):
            end -= len(part)
            if name[end:] in names:
                hits[name[:end]] += 1
            end -= 1
    most = dict(hits.most_common(_MOST_PREFIXES))
    return {prefix: count for prefix, count in hits.items() if prefix in most}
