"""The stand-in's inner side: a small Android in namespaces of its own, and adbd in it.

Runs as the first process of new user, mount and process namespaces (see `phone`). Its root is a
folder; /usr is the machine's, and /system/bin has links to the programs that toybox has, or
scripts that answer from tables. arm64 programs are run by qemu through the kernel's binfmt_misc.
When the process at the other end of its standard input is gone, all of it ends.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import NoReturn

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

libc = ctypes.CDLL(None, use_errno=True)


def main(root: str, qemu: str, features: str, flags: str) -> None:
    """Set the phone up, and serve until the standard input ends."""
    _mount_all(root, qemu)
    if "noexec" in flags.split(","):
        place = f"{root}/data/local/tmp"
        mount(place, place, None, MS_BIND)
        set_attribute(place, ATTR_NOEXEC)
    os.chroot(root)
    os.chdir("/")
    for path in tables.CLOSED:
        os.chmod(path, 0o555)
    off = [int(flag.removeprefix("off")) for flag in flags.split(",") if flag[:3] == "off"]
    live(lambda: _serve(features.split(","), off), drop_rights)


def live(serve: Callable[[], None], give_up: Callable[[], None]) -> NoReturn:
    """Be the first process of a system: have another give up its rights and serve; end with it."""
    child = os.fork()
    if child == 0:
        give_up()
        serve()
        os._exit(0)
    # The first process of a system takes in all orphans; when it ends, the kernel ends the rest.
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _serve(features: list[str], off: list[int]) -> None:
    affinity.start(off)
    daemon.serve(features)


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    words = [word.encode() if word else None for word in (source, target, kind)]
    if libc.mount(*words, flags, options.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} on {target}: {os.strerror(error)}")


def _mount_all(root: str, qemu: str) -> None:
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        place, target = f"/{name}", f"{root}/{name}"
        if os.path.islink(place):
            os.symlink(os.readlink(place), target)
        elif os.path.isdir(place):
            os.mkdir(target)
            mount(place, target, None, MS_BIND | MS_REC)
            protect(target)
    mount_devices(root)
    mount_proc(root)
    mount("none", root + BINFMT, "binfmt_misc")
    with open(f"{root}{BINFMT}/register", "wb", buffering=0) as register:
        register.write(ARM64 % qemu.encode())
    # Root owns the kernel's settings also where it has no rights.
    settings = f"{root}/proc/sys"
    mount(settings, settings, None, MS_BIND | MS_REC)
    protect(settings)


def mount_devices(root: str) -> None:
    """Have the machine's devices that any program may use."""
    for name in DEVICES:
        open(f"{root}/dev/{name}", "x").close()
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)


def mount_proc(root: str) -> None:
    """Have the kernel's /proc, with the phone's own files over it."""
    mount(f"{root}/proc", f"{root}/mnt", None, MS_BIND)
    mount("proc", f"{root}/proc", "proc")
    for name in os.listdir(f"{root}/mnt"):
        mount(f"{root}/mnt/{name}", f"{root}/proc/{name}", None, MS_BIND)
    libc.umount2(f"{root}/mnt".encode(), MNT_DETACH)


def protect(target: str) -> None:
    """Let nobody write to a mount and those below it."""
    set_attribute(target, ATTR_READ_ONLY)


def set_attribute(target: str, attribute: int) -> None:
    attributes = (ctypes.c_uint64 * 4)(attribute)
    words = (AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    if libc.syscall(MOUNT_SETATTR, *words):
        raise OSError(ctypes.get_errno(), f"{target} cannot be changed")


def drop_rights() -> None:
    """Become an ordinary user in all but the number."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")
