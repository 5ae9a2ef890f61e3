"""Every way to damage one place of a JSON document, by the kind of what stands there."""

from __future__ import annotations

import math
from collections.abc import Callable, ItemsView, Iterator
from typing import Any

NUMBERS: tuple[object, ...] = (
    *(0, -1, 10**400, 10**25, 2**63, 1e308, -1e308, 1e-308, 0.5),
    *(math.nan, math.inf, True, "x", None, [], {}),
)
TEXTS: tuple[object, ...] = ("", "x", "../../other", "\x1b[31m", "\ud800", 0, True, None, [], {})
OTHERS: tuple[object, ...] = (0, "x", None, True, [], {}, [None], {"x": 1})

_LONG = 8
"""Of more values of one kind in a list or object, the first, a middle and the last are taken."""


class Doubled(dict[str, Any]):
    """An object with one name twice, as its text is written; `second` is the later value."""

    def __init__(self, whole: dict[str, Any], name: str, second: object) -> None:
        super().__init__(whole)
        self._again = (name, second)

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs that are written."""
        return [*super().items(), self._again]  # type: ignore[return-value]


def damages(document: object) -> Iterator[tuple[str, object]]:
    """Give a document with one damage after the other.

    Args:
        document: plain JSON values; it is changed in place, and whole again at the end.

    Yields:
        What is damaged and how, such as ``plan.threads = -1``, and the document, which stays like
        that until the next is asked for; ``json.dumps`` writes it.
    """
    root = [document]
    yield from _inside(root, 0, "", lambda: root[0])


def _inside(holder: Any, key: Any, path: str, document: Callable[[], object]) -> Iterator[Any]:
    """Damage what stands under a key, and everything in it."""
    value = holder[key]

    def changed(how: str, other: object) -> Iterator[tuple[str, object]]:
        holder[key] = other
        try:
            yield f"{path or 'document'} {how}", document()
        finally:
            holder[key] = value

    for other in _instead_of(value):
        shown = repr(other)
        yield from changed(f"= {shown if len(shown) < 30 else shown[:30] + '…'}", other)
    if isinstance(value, dict):
        yield from _of_object(value, changed)
        for name in _places(value):
            yield from _inside(value, name, f"{path}.{name}".lstrip("."), document)
    elif isinstance(value, list):
        yield from _of_list(value, changed)
        for place in _places(value):
            yield from _inside(value, place, f"{path}[{place}]", document)


def _instead_of(value: object) -> tuple[object, ...]:
    if isinstance(value, dict | list) or value is None:
        return OTHERS
    if isinstance(value, bool):
        return (not value, *OTHERS)
    return TEXTS if isinstance(value, str) else (*NUMBERS, 2 * value, -value)  # type: ignore[operator]


Change = Callable[[str, object], Iterator[tuple[str, object]]]


def _of_object(value: dict[str, Any], changed: Change) -> Iterator[tuple[str, object]]:
    for name in value:
        rest = {other: v for other, v in value.items() if other != name}
        yield from changed(f"without {name}", rest)
        yield from changed(f"with {name} as {name}x", {**rest, f"{name}x": value[name]})
        yield from changed(f"with {name} twice", Doubled(value, name, None))
        yield from changed(f"with {name} twice alike", Doubled(value, name, value[name]))
    yield from changed("with another name", {**value, "another": 1})


def _of_list(value: list[Any], changed: Change) -> Iterator[tuple[str, object]]:
    if value:
        yield from changed("without the first", value[1:])
        yield from changed("without the last", value[:-1])
        yield from changed("with the first twice", [value[0], *value])
        yield from changed("with the last twice", [*value, value[-1]])
        yield from changed("reversed", value[::-1])
    yield from changed("with null", [*value, None])


def _places(value: dict[str, Any] | list[Any]) -> list[Any]:
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    kinds = {type(value[place]) for place in places}
    if len(places) <= _LONG or len(kinds) > 1:
        return places
    return [places[0], places[len(places) // 2], places[-1]]
