from __future__ import annotations

import pytest

from mvdeploy.errors import reason


@pytest.mark.parametrize(
    ("error", "plain", "named"),
    [
        (
            ValueError("Got 3\n Please fix\tit.\n"),
            "Got 3 Please fix it",
            "ValueError: Got 3 Please",
        ),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
        (ValueError("long " * 1000), "long long", "ValueError: long long"),
    ],
)
def test_a_library_is_quoted_on_one_line(error: Exception, plain: str, named: str) -> None:
    for found, start in ((reason(error), plain), (reason(error, named=True), named)):
        assert found.startswith(start)
        assert "\n" not in found and not found.endswith(".") and len(found) <= 300
