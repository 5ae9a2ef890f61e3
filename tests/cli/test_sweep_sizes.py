"""Lists and ranges of sizes."""

from __future__ import annotations

import pytest

from mvdeploy.cli.sizes import listed
from mvdeploy.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("160:320:32",), ("160", "192", "224", "256", "288", "320")),
        (("160:250:32",), ("160", "192", "224")),
        (("64:128",), ("64", "96", "128")),
        (("160, 192", "160x192"), ("160", "192", "160x192")),
        (("64", "64:96", "64"), ("64", "96")),
        (("7:7:1",), ("7",)),
        ((), ()),
        (("what",), ("what",)),  # who reads sizes says what is none
    ],
)
def test_lists_and_ranges(texts: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert listed(texts) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:b", "'a:b' is no range"),
        ("1:2:3:4", "is no range"),
        ("64:", "is no range"),
        ("-64:64", "is no range"),
        ("320:160:32", "has no number in it"),
        ("160:320:0", "has no number in it"),
        ("1:999999999:1", "more than 1000 sizes"),
    ],
)
def test_what_is_no_range_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        listed((text,))
