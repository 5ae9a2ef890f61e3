"""Engines' libraries in Android archives (``.aar``), as their makers publish them."""

from __future__ import annotations

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import elf, writing

ABIS = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}
"""Android's names of architectures."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """What an engine's archive is called, and what is taken of it.

    Attributes:
        engine: its name in sentences.
        library: the file that is taken.
        called: the archive, such as ``litert-VERSION.aar``.
    """

    engine: str
    library: str
    called: str

    @contextmanager
    def unpacked(self, path: Path, architecture: str, into: Path) -> Iterator[Path]:
        """Unpack the library for an architecture into a kit, and give it to be read.

        Raises:
            UsageError: the file is no such archive, or the library cannot be read.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(f"jni/{ABIS[architecture]}/{self.library}")
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
            raise UsageError(
                f"{path} is no archive of {self.engine} for Android ({error}).",
                f"Give the file {self.called}.",
            ) from error
        writing.fill(into / self.library, content)
        try:
            yield into / self.library
        except elf.ElfError as error:
            raise UsageError(
                f"The library of {self.engine} in {path} cannot be used: {error}.",
                f"Download the file {self.called} again.",
            ) from error

    def version(self, path: Path, text: str) -> str:
        """Return the version that stands in a text.

        Raises:
            UsageError: none does.
        """
        match = re.search(r"\d+(\.\d+)+", text)
        if match is None:
            raise UsageError(
                f"The version of {self.engine} in {path} cannot be told.",
                f"Name the file {self.called}.",
            )
        return match[0]
