"""Whether a device can load the files of a kit, as far as the files say so."""

from __future__ import annotations

from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import elf
from mvdeploy.files.elf import Elf
from mvdeploy.kits import ANDROID

ANDROID_PAGE = 16384
"""Bytes of a memory page of newer phones: Android loads nothing that is aligned to less."""

_SYSTEM = frozenset(
    f"lib{name}.so"
    for name in (
        *("EGL", "GLESv1_CM", "GLESv2", "GLESv3", "OpenSLES", "aaudio", "android", "binder_ndk"),
        *("c", "camera2ndk", "dl", "jnigraphics", "log", "m", "mediandk", "nativewindow"),
        *("neuralnetworks", "stdc++", "sync", "vulkan", "z"),
    )
)
"""Libraries of Android itself that programs may use."""


def files(folder: Path, architecture: str, build: str) -> None:
    """Check programs and libraries, each for itself.

    Args:
        folder: holds them, and nothing else.
        architecture: of the device.
        build: of the kit.

    Raises:
        UsageError: one of them is damaged or for another device, or is aligned to smaller pages
            than Android takes.
    """
    for name, about in _read(folder).items():
        if about.machine != architecture:
            raise UsageError(
                f"{name} is for {about.machine}, and the device is {architecture}.",
                "Give engines that were built for the device.",
            )
        if build == ANDROID and about.alignment < ANDROID_PAGE:
            raise UsageError(
                f"{name} is aligned to {about.alignment} bytes, and phones with memory pages of "
                f"{ANDROID_PAGE} do not load it.",
                _aligned(name),
            )


def needs(folder: Path, build: str) -> None:
    """Check that an Android kit has the libraries that its own need.

    Args:
        folder: holds the programs and libraries, and nothing else.
        build: of the kit.

    Raises:
        UsageError: one of them needs a library that is neither in the kit nor part of Android.
    """
    found = _read(folder) if build == ANDROID else {}
    for name, about in found.items():
        for needed in about.needed:
            if needed not in found and needed not in _SYSTEM:
                raise UsageError(
                    f"{name} needs {needed}, which is neither in the kit nor part of Android.",
                    f"Put it beside {name} in the engine's 'lib', or build the engine without it.",
                )


def _read(folder: Path) -> dict[str, Elf]:
    return {path.name: _read_file(path) for path in sorted(folder.iterdir())}


def _read_file(path: Path) -> Elf:
    try:
        return elf.read(path)
    except (OSError, elf.ElfError) as error:
        raise UsageError(
            f"{path.name} is no program or library that a device can load: {error}.",
            "Give another build of the engine that it belongs to.",
        ) from error


def _aligned(name: str) -> str:
    newer = "with an Android NDK r27 or newer"
    if name == "libc++_shared.so":
        return (
            f"Build the kit {newer}, or give engines that are linked with a static libc++ "
            "(-DANDROID_STL=c++_static)."
        )
    return f"Build it {newer}, or link it with -Wl,-z,max-page-size={ANDROID_PAGE}."
