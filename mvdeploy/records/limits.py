"""What the fields of records may hold, beside their types."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Annotated, Literal

_SIMPLE = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,255}")


@dataclasses.dataclass(frozen=True)
class Range:
    """A number from `least` to `most`, both included."""

    least: float
    most: float = math.inf

    def problem(self, value: float) -> str:
        """Say what the number should be; empty when it is that."""
        if self.least <= value <= self.most:
            return ""
        if value < self.least:
            return f"at least {self.least:g}"
        return f"at most {self.most:g}"


@dataclasses.dataclass(frozen=True)
class _Positive:
    """A number above zero."""

    def problem(self, value: float) -> str:
        """Say what the number should be; empty when it is that."""
        return "" if value > 0 else "more than 0"


@dataclasses.dataclass(frozen=True)
class _FileName:
    """A name of a folder that stays inside the one that it is in."""

    def problem(self, value: str) -> str:
        """Say what the name should be; empty when it is that."""
        return "" if _SIMPLE.fullmatch(value) else "a simple name: letters, digits, '.', '_', '-'"


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text that is not empty."""

    def problem(self, value: str) -> str:
        """Say what the text should be; empty when it is that."""
        return "" if value else "a name"


Count = Annotated[int, Range(0)]
Number = Annotated[int, Range(1)]
"""Of something of which there is one at least."""

Nanoseconds = Annotated[int, Range(0, 1e16)]
"""A time of an inference, of loading, of a session: up to 115 days."""

Duration = Annotated[float, Range(0, 1e16)]
"""The same, where it is no whole number."""

Size = Annotated[float, Range(0, 1e100)]
"""Of what has no sign, such as an error; squares of it are numbers still."""

Positive = Annotated[float, _Positive(), Range(0, 1e100)]
Target = Annotated[float, _Positive(), Range(0, 1)]
"""Half the width of an interval, as a share."""

Share = Annotated[float, Range(0, 1)]
Decibels = Annotated[float, Range(-2000, 2000)]
Core = Annotated[int, Range(0, 65_535)]
"""The number of a core; masks are made of these."""

Threads = Annotated[int, Range(1, 65_536)]
Length = Annotated[int, Range(0, 2**40)]
"""Of a dimension of a tensor."""

Pixels = Annotated[int, Range(1, 2**24)]
Counter = Count | Literal["unavailable"]
"""What a system counted; see `mvdeploy.records.UNAVAILABLE`."""

FolderName = Annotated[str, _FileName()]
