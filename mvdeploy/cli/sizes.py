"""Lists and ranges of sizes and of numbers of images: ``160:320:32``, ``160,192``, ``1,4``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mvdeploy.errors import UsageError

_STEP = 32
"""Pixels between the sizes of a range that does not say it."""

_MOST = 1000
"""Sizes of a sweep, and pixels of a range's ends are no more than 9 digits."""

_RANGE = re.compile(r"([0-9]{1,9}):([0-9]{1,9})(?::([0-9]{1,9}))?")


def listed(texts: Sequence[str], step: int = _STEP) -> tuple[str, ...]:
    """Return what lists and ranges stand for, each once, in order.

    Args:
        texts: as they are typed; what is no range stands as it is.
        step: of a range that does not say it.

    Raises:
        UsageError: a range has no number in it, or there are too many in all.
    """
    found: dict[str, None] = {}
    for text in texts:
        for part in text.split(","):
            for one in _range(part.strip(), step):
                found[one] = None
                if len(found) > _MOST:
                    raise UsageError(
                        f"'{text}' stands for more than {_MOST} sizes.", "Give a larger step."
                    )
    return tuple(found)


def _range(text: str, step: int) -> Iterator[str]:
    if ":" not in text:
        yield text
        return
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no range.", "Give its ends and its step, as in 160:320:32.")
    first, last, by = int(match[1]), int(match[2]), int(match[3] or step)
    if first > last or by < 1:
        raise UsageError(
            f"'{text}' has no number in it.",
            "Give the smaller end first and a step of 1 or more, as in 160:320:32.",
        )
    yield from map(str, range(first, last + 1, by))
