"""What a device behind a shell tells of itself: many questions in one call, each may be denied."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping

from mvdeploy.links.shell import Shell
from mvdeploy.records import UNAVAILABLE, Reading

_NOT_THERE = (ValueError, LookupError, OverflowError)
"""What reading an empty or a foreign answer ends in."""

_LARGEST = 2**64
"""No counter of a kernel reaches it."""


def gather(shell: Shell, questions: Mapping[str, str], limit_s: float = 30.0) -> dict[str, str]:
    """Run commands one after the other in one call.

    Args:
        shell: of the device.
        questions: command by name.
        limit_s: seconds for all of them.

    Returns:
        what each wrote to its standard output, by name: as far as it came, and nothing where it
        was denied.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    mark = f"@{secrets.token_hex(4)}"
    lines = [
        f"printf '\\n%s\\n' '{mark} {name}'\n{{ {words}\n}} 2>/dev/null"
        for name, words in questions.items()
    ]
    out = shell.call("\n".join([*lines, "true"]), limit_s).out
    answers = dict.fromkeys(questions, "")
    # An answer need not end with a line's end: the mark brings one along.
    for part in re.split(rf"(?:^|\n){mark} ", out)[1:]:
        name, _, text = part.partition("\n")
        answers[name.strip()] = text
    return answers


def reading(
    read: Callable[[], Reading | None], not_there: tuple[type[Exception], ...] = ()
) -> Reading:
    """Return what `read` finds in an answer, or that it is unavailable.

    A number that nothing can have counted or measured is unavailable too.

    Args:
        read: finds it.
        not_there: what it also ends in when there is nothing to be found.
    """
    try:
        value = read()
    except _NOT_THERE + not_there:
        return UNAVAILABLE
    if isinstance(value, int | float):
        return value if abs(value) < _LARGEST else UNAVAILABLE  # also for what is no number
    return value or UNAVAILABLE
