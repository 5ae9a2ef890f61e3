from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.models import support
from mvdeploy.models.support import AGREES, CANNOT, DIFFERS, Support
from tests.warm import Server

ROWS = (
    Support("a", "onnx", AGREES, ratio="1.3"),
    Support("a", "executorch", AGREES, "1", "0", "52", "127", ratio="2"),
    Support("b detect", "onnx", CANNOT, cause="it has no roof."),
    Support("b detect", "executorch", AGREES, "4", "2"),
    Support("c", "executorch", DIFFERS, cause="It computes something else."),
    Support("d", "executorch", AGREES, "1", "0", "9", "8", "1.32", "1.30", "1.34", "2"),
)


def test_a_line_for_each_network_and_a_cell_for_each_format() -> None:
    assert list(support.table(ROWS)) == [
        ("network", "onnx", "executorch"),
        ("a", "agrees", "agrees, 1 / 0 (plain 52 / 127)"),
        ("b detect", "cannot: it has no roof.", "agrees, 4 / 2"),
        ("c", "not tried", "differs: It computes something else."),
        ("d", "not tried", "agrees, 1 / 0 (plain 9 / 8; 1.32 times as long, 1.30 to 1.34)"),
    ]


def test_what_was_found_is_of_networks_that_there_are() -> None:
    found = support.found()
    assert len({(row.network, row.format) for row in found}) == len(found)
    own = {row.network.split()[0] for row in found if ":" not in row.network}
    assert own <= set(models.catalogue())
    for row in found:
        assert row.outcome in (AGREES, DIFFERS, CANNOT)
        assert bool(row.cause) == (row.outcome != AGREES)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_it_is_shown(warm: Server, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = warm.mvdeploy("models", "--support", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if flags:
        assert json.loads(done.stdout) == [row._asdict() for row in support.found()]
    else:
        assert all(row.network in done.stdout for row in support.found())
        assert support.DELEGATES in " ".join(done.stdout.split())
