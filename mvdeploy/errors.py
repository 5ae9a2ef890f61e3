"""Everything mvdeploy raises on purpose.

::

    MvdeployError          exit code
    ├── CheckFailed        1   a gate, a parity check or a reliability demand failed
    ├── UsageError         2   a flag, a file, a model, a profile is not what it has to be
    ├── DeviceUnavailable  3   no such device can be reached
    └── EngineError        4   an engine or a runner failed

Each carries two sentences: what happened, and what to do about it.
"""

from __future__ import annotations


def reason(error: BaseException, named: bool = False) -> str:
    """Return what an error of a library says, as a clause: on one line, without a full stop.

    Args:
        error: the error.
        named: its kind stands before it, as what it says may mean little without.
    """
    kind = type(error).__name__
    words = " ".join(str(error).split())
    said = f"{kind}: {words}" if named and words else words or kind
    return said[:300].rstrip(". ")


class MvdeployError(Exception):
    """An error with a message for the person at the terminal.

    Attributes:
        message: one sentence on what happened.
        remedy: one sentence on what to do.
        exit_code: what the process ends with.

    Example:
        >>> import mvdeploy
        >>> try:
        ...     mvdeploy.make_spec("mobilevit_m")
        ... except mvdeploy.MvdeployError as error:
        ...     print(error.message)
        There is no model 'mobilevit_m'.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy

    def add(self, sentences: str) -> None:
        """Say more beside what to do: what else came of it."""
        self.remedy = f"{self.remedy} {sentences}"


class CheckFailed(MvdeployError):
    """Something was measured or compared, and did not meet the demand."""

    exit_code = 1


class UsageError(MvdeployError):
    """The input cannot be used as it was given."""

    exit_code = 2


class DeviceUnavailable(MvdeployError):
    """The device is known, but does not answer."""

    exit_code = 3


class EngineError(MvdeployError):
    """An inference engine, or the runner around it, failed."""

    exit_code = 4
