"""Files as bytes that are sent."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.pipeline.fleet import parcels


def test_the_same_files_make_the_same_parcel_and_come_out_as_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "net.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "weights.bin").write_bytes(b"\x00\x01")
    (folder / "Manifest.json").write_text("{}")
    first = parcels.of_file(folder)
    (folder / "Manifest.json").touch()
    assert parcels.of_file(folder) == first
    (tmp_path / "there" / "old").mkdir(parents=True)
    parcels.unpack(first, tmp_path / "there")
    found = tmp_path / "there" / "net.mlpackage"
    assert (found / "Data" / "weights.bin").read_bytes() == b"\x00\x01"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["net.mlpackage"]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside-of-all", "a/../../outside"])
def test_nothing_is_written_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as parcel:
        parcel.writestr(name, "x")
    with pytest.raises(UsageError, match="damaged"):
        parcels.unpack(content.getvalue(), tmp_path / "in" / "it")
    assert not (tmp_path / "in" / "it").exists()
    assert not (tmp_path / "in" / "outside").exists() and not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"no parcel"])
def test_what_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="damaged"):
        parcels.unpack(content, tmp_path / "it")
    with pytest.raises(UsageError, match="damaged"):
        parcels.demand(content, parcels.sha256(b"other"))
