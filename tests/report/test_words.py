from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.report import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\n\tc", "a b c"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\u202eb\u200bc", "a\ufffdb\ufffdc"),
        ("  größe × 2 ", "größe × 2"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert words.clean(text) == expected


@settings(deadline=None)
@given(st.text())
def test_clean_text_is_printable_and_stays_clean(text: str) -> None:
    cleaned = words.clean(text)
    assert words.clean(cleaned) == cleaned
    assert "\n" not in cleaned
    assert "\x1b" not in cleaned


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(3, 40))
def test_elide_keeps_both_ends(text: str, width: int) -> None:
    short = words.elide(text, width)
    assert len(short) <= width
    assert short == text or (text.startswith(short.split("…")[0]) and "…" in short)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (words.milliseconds(5_123_456), "5.123"),
        (words.milliseconds(123_456_789), "123.5"),
        (words.milliseconds(None), "–"),
        (words.signed_milliseconds(-400), "0.000"),
        (words.signed_milliseconds(-400_000), "−0.400"),
        (words.percent(0.12345), "12.3 %"),
        (words.signed_percent(0.06, 0), "+6 %"),
        (words.megabytes(0), "–"),
        (words.megabytes(142_600_000), "142.6"),
        (words.significant(1234.5), "1234"),
        (words.significant(0.012345), "0.0123"),
        (words.reading(("a", "b")), "a, b"),
        (words.reading(41.25), "41.25"),
        (words.reading(""), "–"),
        (words.count(1, "pair"), "1 pair"),
        (words.count(1200, "pair"), "1,200 pairs"),
        (words.join(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_and_lists(made: str, expected: str) -> None:
    assert made == expected
