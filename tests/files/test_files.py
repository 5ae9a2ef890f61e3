"""Files, and folders that count as one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from mvdeploy import files


def folder(at: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = at / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return at


def test_a_file_has_its_own_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert files.size(tmp_path / "a") == 3


def test_a_folder_differs_when_any_file_or_name_does(tmp_path: Path) -> None:
    one = files.sha256(folder(tmp_path / "one", a="1", b_c="2"))
    assert files.sha256(folder(tmp_path / "same", b_c="2", a="1")) == one
    assert files.sha256(folder(tmp_path / "byte", a="1", b_c="3")) != one
    assert files.sha256(folder(tmp_path / "name", a="1", b_d="2")) != one
    assert files.sha256(folder(tmp_path / "more", a="1", b_c="2", d="")) != one
    assert files.size(tmp_path / "one") == 2


def test_moving_replaces_files_and_folders(tmp_path: Path) -> None:
    for kind in ("file", "folder"):
        part, path, aside = (tmp_path / kind / name for name in ("part", "path", "aside"))
        for place, text in ((part, "new"), (path, "old")):
            place.parent.mkdir(exist_ok=True)
            if kind == "file":
                place.write_text(text)
            else:
                folder(place, a=text)
        files.move(part, path, aside)
        assert (path if kind == "file" else path / "a").read_text() == "new"
        assert not part.exists()


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = folder(tmp_path / "path", a="old")
    with pytest.raises(FileNotFoundError):
        files.move(tmp_path / "missing", path, tmp_path / "aside")
    assert (path / "a").read_text() == "old"
    assert not (tmp_path / "aside").exists()


def test_long_names_are_cut_and_stay_different() -> None:
    assert files.short("model.onnx") == "model.onnx"
    cut = [files.short(f"{'ü' * 240}{end}") for end in "ab"]
    assert cut[0] != cut[1] and all(90 < len(name.encode()) <= 100 for name in cut)


def test_without_a_home_folder_there_is_one_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    def none(_: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_cache_path", none)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"mvdeploy-{os.getuid()}"
    assert files.user_folder("cache") == own / "cache"
    own.mkdir()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    own.rename(tmp_path / f"mvdeploy-{other}")
    with pytest.raises(PermissionError, match="another user"):
        files.user_folder("cache")
