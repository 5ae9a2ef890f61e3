"""Only regular files of a bounded size are read, and archives that are what they seem."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.files import archives, reading


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe"),
        (Path.mkdir, "a folder"),
        (_socket, "a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
)
def test_what_is_no_regular_file_is_not_opened(
    make: Callable[[Path], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("x"))
    with pytest.raises(UsageError, match=f"x cannot be read as labels: it is {kind}"):
        reading.text(Path("x"), what="labels")


def test_a_limit_is_named_with_what_raises_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 10**12)  # takes no room on the disk
    with pytest.raises(UsageError, match=r"large has 1,000,000 MB, and a file is .* up to 16 MB"):
        reading.contents(path)
    os.truncate(path, 20 * reading.MB)
    with pytest.raises(UsageError) as caught:
        reading.contents(path)
    assert "MVDEPLOY_FILE_LIMIT_MB=20" in caught.value.remedy
    monkeypatch.setenv(reading.LIMIT_VARIABLE, "20")
    assert len(reading.contents(path)) == 20 * reading.MB
    monkeypatch.setenv(reading.LIMIT_VARIABLE, "a lot")
    with pytest.raises(UsageError, match="up to 16 MB"):
        reading.contents(path)


def test_text_is_read_as_python_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffé\r\nb\rc\n".encode())
    assert reading.text(tmp_path / "a", encoding="utf-8-sig") == "é\nb\nc\n"
    with pytest.raises(FileNotFoundError):
        reading.text(tmp_path / "b")


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(65_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(UsageError, match=r"unpack to 65 MB in 1 files; .* up to 64 MB"):
        archives.check(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_for_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/data", b"1")
        archive.writestr("X/Data", b"2")
    with pytest.raises(UsageError, match="two files 'x/data'"):
        archives.check(tmp_path / "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_names_the_damaged_member(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("first", b"a" * 1000)
        archive.writestr("x/data/0", bytes(range(256)) * 20)
    assert archives.check(path) == ("first", "x/data/0")
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"x/data/0") + 60] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UsageError, match="checksum of 'x/data/0' in it is wrong"):
        archives.check(path)
    assert archives.check(path, sums=False) == ("first", "x/data/0")
