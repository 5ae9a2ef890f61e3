"""Files are written whole or not at all, and a disk that refuses them is worded once."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mvdeploy.files import writing

LIMITED = """
import resource, signal, sys
from pathlib import Path
from mvdeploy.files import writing

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    writing.data(Path(sys.argv[1]), bytes(123456))
except writing.NotWritten as error:
    print(error.message)
"""
HOLD = """
import sys
from pathlib import Path
from mvdeploy.files import writing

with writing.whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("there", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_stood_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    writing.text(path, "öld")
    assert path.read_text("utf-8") == "öld"
    with writing.whole(path) as part:
        part.write_text("half")
        assert path.read_text("utf-8") == "öld"
    assert path.read_text() == "half"
    with pytest.raises(KeyboardInterrupt), writing.whole(path) as part:
        part.write_text("other")
        raise KeyboardInterrupt
    assert path.read_text() == "half" and names(path.parent) == ["a.txt"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "package"
    for text in ("old", "new"):
        with writing.whole(path) as part:
            part.mkdir()
            (part / "a").write_text(text)
        assert (path / "a").read_text() == text and names(tmp_path) == ["package"]
    with pytest.raises(writing.NotWritten, match="Is a directory"):
        writing.text(path, "a file")
    assert (path / "a").read_text() == "new" and names(tmp_path) == ["package"]


def test_a_file_that_outgrows_the_limit_says_its_size(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: nobody can be asked to fill one."""
    path = tmp_path / "big"
    words = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    said = f"{path} cannot be written (File too large): it takes 123,456 bytes, and "
    assert done.stdout.startswith(said) and done.stdout.endswith(" are free there.\n"), done
    assert names(tmp_path) == []


def test_a_full_device_is_told_of_with_what_is_free(tmp_path: Path) -> None:
    with pytest.raises(writing.NotWritten) as caught, writing.whole(tmp_path / "a") as part:
        part.symlink_to("/dev/full")
        writing.fill(part, b"123")
    said = f"{tmp_path / 'a'} cannot be written (No space left on device): it takes 3 bytes, and "
    assert caught.value.message.startswith(said)
    assert caught.value.exit_code == 2 and names(tmp_path) == []


def test_a_place_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(writing.NotWritten, match=r"file/b cannot be written \(File exists\)\. Up"):
        writing.text(tmp_path / "file" / "b", "", remedy="Up.")


def test_the_file_that_an_error_names_is_named(tmp_path: Path) -> None:
    elsewhere = OSError(errno.EACCES, "Permission denied", "/elsewhere/b")
    assert writing.refused(elsewhere, tmp_path / "a").message.startswith("/elsewhere/b cannot be")
    inside = OSError(errno.EACCES, "Permission denied", str(tmp_path / ".a.x.part/a"))
    assert writing.refused(inside, tmp_path / "a").message.startswith(f"{tmp_path / 'a'} cannot")
    assert writing.refused(OSError("odd")).message == "The output cannot be written (odd)."


def test_what_a_library_makes_of_a_full_disk_is_recognised() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = ValueError("it failed")
    wrapped.__cause__ = full
    assert writing.cause(wrapped) is full
    told = writing.cause(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert told is not None and told.errno == errno.ENOSPC
    assert writing.cause(ValueError("a wrong value")) is None
    assert writing.cause(FileNotFoundError(errno.ENOENT, "No such file", "input.jpg")) is None


def test_the_next_one_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    words = [sys.executable, "-c", HOLD, str(path)]
    holders = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for holder in holders:
        assert holder.stdout is not None and holder.stdout.readline() == b"there\n"
    killed, living = holders
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(names(tmp_path)) == 2
    writing.text(path, "mine")
    assert len(names(tmp_path)) == 2  # the file, and the folder of the one that lives
    living.communicate()
    assert path.read_text() == "half" and names(tmp_path) == ["a.txt"]


def test_temporary_files_have_a_place_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with writing.temporary() as folder:
        (folder / "a").write_text("a")
        assert folder.parent == tmp_path
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError), writing.temporary():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "input.jpg")
    with pytest.raises(writing.NotWritten, match="No space left"), writing.temporary() as folder:
        (folder / "a").symlink_to("/dev/full")
        (folder / "a").write_text("a")

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.raises(writing.NotWritten, match=r"no place for temporary files.*TMPDIR"):
        writing.temporary().__enter__()


def test_a_link_is_not_taken_for_left_over(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / ".a.x.part").symlink_to(tmp_path / "kept")
    writing.text(tmp_path / "a", "a")
    assert (tmp_path / "kept").is_dir()
