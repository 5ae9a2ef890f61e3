"""A browser, and the engines for it: fetched by npm once for all workers of a run.

``MVDEPLOY_NPM`` may name a folder in which they were installed with npm; nothing is fetched then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy import engines
from mvdeploy.errors import MvdeployError
from mvdeploy.kits import web
from mvdeploy.links.families.browser import program
from tests import shared
from tests.android.fixtures import demand

ENGINES = tuple(name for name in engines.names() if hasattr(engines.get(name), "WEB"))


@pytest.fixture(scope="module")
def web_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the cache of the user, of tests' own, in which the engines are; there is a browser.

    The environment leads to it, also that of programs which are started meanwhile.
    """
    try:
        program.find(os.environ.get("MVDEPLOY_BROWSER"))
    except MvdeployError as error:
        demand(f"a browser ({error.message.rstrip('.')})", False)
    folder = shared.folder(tmp_path_factory) / "web-cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        given = os.environ.get("MVDEPLOY_NPM")
        patch.delenv("MVDEPLOY_NPM", raising=False)  # each run would install them again
        with shared.locked(folder / "lock"), pytest.MonkeyPatch.context() as fetching:
            fetching.setenv("npm_config_prefer_offline", "true")
            failed = _install(patch, folder, Path(given) if given else None)
        demand(f"the engines of browsers ({failed})", not failed)
        yield folder


def _install(patch: pytest.MonkeyPatch, cache: Path, given: Path | None) -> str:
    """Have every engine in a cache; return why that cannot be."""
    patch.setenv("XDG_CACHE_HOME", str(cache))
    for engine in ENGINES:
        try:
            if not web.place(engine).is_dir():
                web.install(engine, given)
        except MvdeployError as error:
            return error.message.rstrip(".")
    return ""
