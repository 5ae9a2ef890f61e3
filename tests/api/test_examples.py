"""The example of every public name runs and shows what it says."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest

import mvdeploy

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAMES = [name for name in mvdeploy.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is_and_its_examples_run(name: str, workspace: Path) -> None:
    public = getattr(mvdeploy, name)
    found = doctest.DocTestFinder().find(public, name, sys.modules[public.__module__], globs={})
    own = next(test for test in found if test.name == name)
    assert own.examples, f"{name} has no example"
    assert isinstance(public, type) or "Raises:" in own.docstring
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in found:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", ["bench", "compare", "export"])
def test_every_keyword_is_described(name: str) -> None:
    import inspect

    function = getattr(mvdeploy, name)
    for keyword in inspect.signature(function).parameters:
        assert f"\n        {keyword}: " in function.__doc__, keyword
