"""The stand-in's inner side: a small Android in namespaces of its own, and adbd in it.

Runs as the first process of new user, mount and process namespaces (see `phone`). Its root is a
folder; /usr is the machine's, and /system/bin has links to the programs that toybox has, or
scripts that answer from tables. arm64 programs are run by qemu through the kernel's binfmt_misc.
When the process at the other end of its standard input is gone, all of it ends.
"""

from __future__ import annotations

import ctypes
import os

from tests.android import affinity, daemon, tables

MS_BIND, MS_REC, MNT_DETACH = 4096, 16384, 2
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, ATTR_READ_ONLY = 442, -100, 0x8000, 1
ATTR_NOEXEC = 8
PR_CAPBSET_DROP = 24
DEVICES = ("null", "zero", "full", "random", "urandom")
BINFMT = "/proc/sys/fs/binfmt_misc"

ARM64 = (
    rb":mvdeploy-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:%s:PF"
)

_libc = ctypes.CDLL(None, use_errno=True)


def main(root: str, qemu: str, features: str, flags: str) -> None:
    """Set the phone up, and serve until the standard input ends."""
    _mount_all(root, qemu)
    if "noexec" in flags.split(","):
        place = f"{root}/data/local/tmp"
        _mount(place, place, None, MS_BIND)
        _set(place, ATTR_NOEXEC)
    os.chroot(root)
    os.chdir("/")
    for path in tables.CLOSED:
        os.chmod(path, 0o555)
    child = os.fork()
    if child == 0:
        _drop_rights()
        off = [int(flag.removeprefix("off")) for flag in flags.split(",") if flag[:3] == "off"]
        affinity.start(off)
        daemon.serve(features.split(","))
        os._exit(0)
    # The first process of a system takes in all orphans; when it ends, the kernel ends the rest.
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _mount(source: str, target: str, kind: str | None, flags: int = 0) -> None:
    words = [word.encode() if word else None for word in (source, target, kind)]
    if _libc.mount(*words, flags, None):
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} on {target}: {os.strerror(error)}")


def _mount_all(root: str, qemu: str) -> None:
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        place, target = f"/{name}", f"{root}/{name}"
        if os.path.islink(place):
            os.symlink(os.readlink(place), target)
        elif os.path.isdir(place):
            os.mkdir(target)
            _mount(place, target, None, MS_BIND | MS_REC)
            _protect(target)
    for name in DEVICES:
        open(f"{root}/dev/{name}", "x").close()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    # The phone's own files in /proc, over the kernel's.
    _mount(f"{root}/proc", f"{root}/mnt", None, MS_BIND)
    _mount("proc", f"{root}/proc", "proc")
    for name in os.listdir(f"{root}/mnt"):
        _mount(f"{root}/mnt/{name}", f"{root}/proc/{name}", None, MS_BIND)
    _libc.umount2(f"{root}/mnt".encode(), MNT_DETACH)
    _mount("none", root + BINFMT, "binfmt_misc")
    with open(f"{root}{BINFMT}/register", "wb", buffering=0) as register:
        register.write(ARM64 % qemu.encode())


def _protect(target: str) -> None:
    """Let nobody write to a mount and those below it."""
    _set(target, ATTR_READ_ONLY)


def _set(target: str, attribute: int) -> None:
    attributes = (ctypes.c_uint64 * 4)(attribute)
    words = (AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    if _libc.syscall(MOUNT_SETATTR, *words):
        raise OSError(ctypes.get_errno(), f"{target} cannot be changed")


def _drop_rights() -> None:
    """Become an ordinary user in all but the number."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = 0
    while _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if _libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")
