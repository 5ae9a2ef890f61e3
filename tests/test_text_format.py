from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy import text_format


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\n\tc", "a b c"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\u202eb\u200bc", "a\ufffdb\ufffdc"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("  größe × 2 ", "größe × 2"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert text_format.clean(text) == expected


@settings(deadline=None)
@given(st.text())
def test_clean_text_is_printable_and_stays_clean(text: str) -> None:
    cleaned = text_format.clean(text)
    assert text_format.clean(cleaned) == cleaned
    assert "\n" not in cleaned
    assert "\x1b" not in cleaned


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(3, 40))
def test_elide_keeps_both_ends(text: str, width: int) -> None:
    short = text_format.elide(text, width)
    assert len(short) <= width
    assert short == text or (text.startswith(short.split("…")[0]) and "…" in short)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (text_format.milliseconds(5_123_456), "5.123"),
        (text_format.milliseconds(123_456_789), "123.5"),
        (text_format.milliseconds(None), "–"),
        (text_format.signed_milliseconds(-400), "0.000"),
        (text_format.signed_milliseconds(-400_000), "−0.400"),
        (text_format.percent(0.12345), "12.3 %"),
        (text_format.signed_percent(0.06, 0), "+6 %"),
        (text_format.megabytes(0), "–"),
        (text_format.megabytes(142_600_000), "142.6"),
        (text_format.significant(1234.5), "1234"),
        (text_format.significant(0.012345), "0.0123"),
        (text_format.reading(("a", "b")), "a, b"),
        (text_format.reading(41.25), "41.25"),
        (text_format.reading(""), "–"),
        (text_format.count(1, "pair"), "1 pair"),
        (text_format.count(1200, "pair"), "1,200 pairs"),
        (text_format.join(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_and_lists(made: str, expected: str) -> None:
    assert made == expected
