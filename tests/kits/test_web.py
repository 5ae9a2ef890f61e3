"""Engines for browsers, out of npm packages."""

from __future__ import annotations

import pytest

from mvdeploy.kits import web
from tests.web_engines import ENGINES, web_engines

__all__ = ["web_engines"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("web_engines")
def test_an_engine_that_npm_fetched_is_found(engine: str) -> None:
    folder, kit = web.find(engine)
    assert kit.engine == engine
    assert {path.name for path in folder.iterdir()} == {*kit.sums, web.FILE}
