"""Files leave the system's cache when they are dropped, and looking does not bring them back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mvdeploy.runners import page_cache

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file in the cache, on a disk."""
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(3_000_001))
    if "tmpfs" in _kind(path):
        pytest.skip("the folder of the tests lies in memory, which is nothing but cache")
    return path


def _kind(path: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [m for m in mounts if path.resolve().is_relative_to(m[1])]
    return max(inside, key=lambda m: len(m[1]))[2]


def test_a_file_is_in_it_until_it_is_dropped_and_comes_back_when_it_is_read(file: Path) -> None:
    paths = [str(file)]
    assert page_cache.resident(paths) == 1.0
    page_cache.drop(paths)
    assert page_cache.resident(paths) == 0.0
    assert page_cache.resident(paths) == 0.0
    file.read_bytes()
    assert page_cache.resident(paths) == 1.0


def test_a_file_that_is_mapped_by_someone_stays(file: Path) -> None:
    import mmap

    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as held:
        assert sum(held[:: mmap.PAGESIZE]) > 0  # every page of it is in use
        page_cache.drop([str(file)])
        assert (page_cache.resident([str(file)]) or 0) > 0.5


def test_a_part_of_several_files(file: Path, tmp_path: Path) -> None:
    other, empty = tmp_path / "other.bin", tmp_path / "empty.bin"
    other.write_bytes(file.read_bytes())
    empty.touch()
    page_cache.drop([str(other), str(empty)])
    share = page_cache.resident([str(file), str(other), str(empty)])
    assert share == pytest.approx(0.5)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OSError, match="nowhere"):
        page_cache.drop(["/nowhere/model.bin"])
