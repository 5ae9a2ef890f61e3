"""What tests of readings share: damaged answers, and what readings may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

from mvdeploy import links
from mvdeploy.records import DeviceState, Reading
from mvdeploy.records.codec import dumps, loads

NUMBERS = ("9" * 400, "9" * 5000, "-1", "nan", "inf", "1e999", "0-99999", "7-0", "٣", "")
"""What stands for a number in a damaged answer."""


@st.composite
def damaged(draw: st.DrawFn, sample: str) -> str:
    """Make an answer of a sample: as it is, with something put in, or with another number."""
    start = draw(st.integers(0, len(sample)))
    end = draw(st.integers(start, len(sample)))
    spliced = sample[:start] + draw(st.text(max_size=20)) + sample[end:]
    places = [found.span() for found in re.finditer(r"\d+", sample)]
    first, last = draw(st.sampled_from(places or [(0, 0)]))
    renumbered = sample[:first] + draw(st.sampled_from(NUMBERS)) + sample[last:]
    return draw(st.sampled_from([sample, spliced, renumbered]))


def any_of(samples: Mapping[str, str]) -> st.SearchStrategy[dict[str, str]]:
    """Answers to all questions: damaged ones, or any texts."""
    return st.fixed_dictionaries(
        {name: damaged(sample) | st.text() for name, sample in samples.items()}
    )


def assert_saved_as_they_are(readings: dict[str, Reading]) -> None:
    """See that readings survive a file; what is no number does not."""
    state = DeviceState("2026-01-01T00:00:00+00:00", readings)
    assert loads(DeviceState, dumps(state), "a file") == state
    for value in readings.values():
        assert value or type(value) in (int, float), "nothing was read, and it is not said"


def documented(heading: str) -> dict[str, str]:
    """Return the names that the package's table with a heading has, and what it says of them."""
    assert links.__doc__ is not None
    _, _, table = links.__doc__.partition(f"`{heading}`\n")
    body = re.split(r"^=+ +=+$", table, flags=re.MULTILINE)[1]
    names: dict[str, str] = {}
    for row in re.split(r"\n(?=``)", body.strip()):
        first, *others = re.findall(r"``(\w+)``", row)
        names[first] = row
        for other in others:
            if other.startswith("_"):  # stands for the first name's end
                names[re.sub(r"_\w+$", "", first) + other] = row
            elif re.search(rf"as is ``{other}``|``{other}`` is", row):
                names[other] = row
    return names


def lackable(names: Mapping[str, str], *words: str) -> set[str]:
    """Return the documented names of which one of some words is said."""
    return {name for name, row in names.items() if any(w in _one_line(row) for w in words)}


def _one_line(row: str) -> str:
    return " ".join(row.split())


def unavailable(readings: Mapping[str, Reading]) -> Iterable[str]:
    """Return the names of what could not be read."""
    return {name for name, value in readings.items() if value == "unavailable"}
