"""What a device behind a shell tells of itself: many questions in one call, each may be denied."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping

from mvdeploy.links.shell import Answer, Shell
from mvdeploy.records import UNAVAILABLE, Reading

_NOT_THERE = (ValueError, LookupError, OverflowError)
"""What reading an empty or a foreign answer ends in."""

_LARGEST = 2**64
"""No counter of a kernel reaches it."""

EACH_S = 5.0
"""Seconds for each of several questions: a few that hang leave time for the others."""

# A device without the program `timeout`, or with one that takes other words, has no bounds. It is
# known by what it runs, not by its status: that of toybox (0.8.9) may be 127 for what ends at once.
_BOUND = """\
if [ "$(timeout -s KILL 1 echo bound)" = bound ]; then bound() { timeout -s KILL "$@"; }
else bound() { shift; "$@"; }
fi 2>/dev/null
"""

_KILLED = "9|137"
"""Exit statuses of what `timeout` has killed; the first is that of old toyboxes."""


def bounded(words: str, limit_s: float = EACH_S) -> str:
    """Return a command whose first program is killed after some seconds.

    Its exit status is then one that no success has. A device without ``timeout`` lets it run.

    Args:
        words: of the command; begin with a program, not with a word of the shell's own.
        limit_s: seconds.
    """
    return f"{_BOUND}bound {limit_s:g} {words}"


def was_killed(answer: Answer) -> bool:
    """Say whether a command that `bounded` gave had to be killed."""
    return str(answer.status) in _KILLED.split("|")


def gather(shell: Shell, questions: Mapping[str, str], limit_s: float = 30.0) -> dict[str, str]:
    """Run commands one after the other in one call; none of them holds up the others for long.

    Args:
        shell: of the device.
        questions: command by name; see `bounded` for what it begins with.
        limit_s: seconds for all of them.

    Returns:
        what each wrote to its standard output, by name: as far as it came, and nothing where it
        was denied, or had to be killed after `EACH_S`.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    mark = f"@{secrets.token_hex(4)}"
    lines = []
    for name, words in questions.items():
        begin = f"printf '\\n%s\\n' '{mark} {name}'"
        # An answer that was not finished begins anew, and is empty.
        lines += [
            begin,
            f"{{ bound {EACH_S:g} {words}\n}} 2>/dev/null",
            f"case $? in {_KILLED}) {begin} ;; esac",
        ]
    out = shell.call(_BOUND + "\n".join([*lines, "true"]), limit_s).out
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
