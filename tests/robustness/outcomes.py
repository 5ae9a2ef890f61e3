"""What came of a command on a damaged file."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess

OUTCOMES = {
    "refused": "one sentence on what is wrong and one on what to do, with a documented status",
    "noticed": "read, with a warning, a finding or a failed check",
    "harmless": "read, and the result is that of the sound file",
    "another": "read as what it now says: nothing in such a file contradicts it",
    "silent": "read, and the result is wrong without a word",
    "unworded": "refused without such sentences, or with other programs' output around them",
    "traceback": "ended in a traceback",
    "status": "ended with a status that is not documented, or as a defect (70)",
    "crash": "ended by a signal that nobody sent",
    "hang": "did not end",
    "left": "left something half-written, or a process",
    "executed": "something in the file was run",
}
"""By name: what it means. The first four are as it has to be."""

GOOD = ("refused", "noticed", "harmless", "another")
FORBIDDEN = tuple(name for name in OUTCOMES if name not in GOOD)

REFUSALS = (1, 2, 3, 4)
"""Statuses of a refusal, as the README says."""

_ERROR = re.compile(r"^Error: ", re.MULTILINE)
_NOTICE = re.compile(
    r"^Warning: |\"level\": \"(?:warning|error)\"|^(?:warning|error): ", re.MULTILINE
)
_CODE = re.compile(r"\"code\": \"([^\"]+)\",\s*\"level\": \"(?:warning|error)\"")
# What libraries print when they are left alone with a file.
_NOISE = re.compile(
    r"^(?:\s+File \"|[EWIF]\d{4} |\[[A-Z] \d|.*\[E:onnxruntime|WARNING:|ERROR:)"
    r"|^(?:\w+Warning: |\w+Error: )"
    r"|^(?!Error: ).+\.(?:py|cpp|cc|c|h):\d+[:\]]",
    re.MULTILINE,
)
# Escapes of a terminal, and what else no text has.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        name: one of `OUTCOMES`; empty where a command ended well and its result has to be judged.
        said: the first line of what it said of it.
    """

    name: str
    said: str = ""


def of_process(ended: subprocess.CompletedProcess[str] | None) -> Outcome:
    """Say what came of a command by its end alone.

    Args:
        ended: the command; None if it did not end.
    """
    if ended is None or ended.returncode in _OUT_OF_TIME:
        return Outcome("hang")
    said = last_words(ended.stderr)
    if ended.returncode < 0:
        return Outcome("crash", f"{signal.Signals(-ended.returncode).name} {said}")
    if "Traceback (most recent call last)" in ended.stdout + ended.stderr:
        return Outcome("traceback", said)
    if ended.returncode not in (0, *REFUSALS):
        return Outcome("status", f"{ended.returncode} {said}")
    if _CONTROLS.search(ended.stdout + ended.stderr):
        return Outcome("unworded", f"control characters: {said}")
    if _NOISE.search(ended.stderr):
        return Outcome("unworded", said)
    if _ERROR.search(ended.stderr):
        return Outcome("refused" if ended.returncode and worded(ended.stderr) else "unworded", said)
    if ended.returncode == 0:
        return Outcome("", said)
    return Outcome("noticed" if ended.returncode == 1 and ended.stdout else "unworded", said)


def worded(text: str) -> bool:
    """Say whether an error has its two sentences, once, and both are sentences."""
    _, *errors = _ERROR.split(text)
    if len(errors) != 1:
        return False
    what, _, remedy = errors[0].strip().partition("\n")
    return what.rstrip().endswith((".", "!", "?")) and remedy.rstrip().endswith((".", "!", "?"))


def noticed(
    ended: subprocess.CompletedProcess[str], sound: subprocess.CompletedProcess[str]
) -> bool:
    """Say whether a command warned of more than it does of the sound file, or of something else."""
    others = {*_CODE.findall(ended.stdout)} - {*_CODE.findall(sound.stdout)}
    return bool(others) or _notices(ended) > _notices(sound)


def _notices(ended: subprocess.CompletedProcess[str]) -> int:
    return len(_NOTICE.findall(ended.stdout + "\n" + ended.stderr))


def last_words(text: str) -> str:
    """Return the sentence of an error, or else the last line; without control characters."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("Error: ")), lines[-1] if lines else "")
    return _CONTROLS.sub("?", said)[:300]
