"""Files in the system's cache: how much of them is there, and dropping them (Linux, no root)."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Sequence

_READ, _SHARED = 1, 1
_FAILED = ctypes.c_void_p(-1).value


def drop(paths: Sequence[str]) -> None:
    """Ask the system to drop files from its cache; those that others use may stay.

    Raises:
        OSError: this system cannot be asked, or a file cannot be read.
    """
    if sys.platform != "linux":
        raise OSError("this system has no call for it")
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on the disk yet cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident(paths: Sequence[str]) -> float | None:
    """Return which share of the pages of files is in the system's cache; None where no one tells.

    Looking brings no page into it.
    """
    if sys.platform != "linux":
        return None
    found = [_pages(path) for path in paths]
    known = [pages for pages in found if pages is not None]
    total = sum(count for _, count in known)
    if len(known) < len(found) or not total:
        return None
    return sum(there for there, _ in known) / total


def _pages(path: str) -> tuple[int, int] | None:
    """Return how many pages of a file are in the cache, and how many it has."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
    ]
    library.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            return 0, 0
        address = library.mmap(None, size, _READ, _SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address in (None, _FAILED):
        return None
    try:
        count = -(-size // mmap.PAGESIZE)
        told = ctypes.create_string_buffer(count)
        if library.mincore(address, size, told):
            return None
        return sum(byte & 1 for byte in told.raw[:count]), count
    finally:
        library.munmap(address, size)
