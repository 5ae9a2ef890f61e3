"""The inner side of a phone with the genuine adbd: namespaces of its own, adbd, and the line to it.

adbd runs as Android's user `shell` (2000) in a root of its own, and in a network of its own, where
nobody but the relay reaches it. The relay listens at the machine's loopback, and can cut the line;
it is told what to do by lines of JSON on its standard input, and answers each with a line. When the
process at the other end of its standard input is gone, all of it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn

from tests.android import affinity, daemon, system, tables

SHELL_USER, ROOT_USER = 2000, 0
OUTSIDE = 65_000
"""The machine's number of the user `shell` where root runs the tests: somebody with no rights."""

PORT = 7555
"""Not of 5555 to 5585, where adb looks for emulators."""

NEW_MOUNTS, NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

NOEXEC, SMALL = "/data/noexec", "/data/small"
SMALL_MB = 8

SOCKET_CALLS = {"x86_64": 41, "aarch64": 198}

PATIENCE_S = 20.0
BLOCK = 1 << 16


def main(root: str, usr: str, libraries: str) -> NoReturn:
    """Set the phone up, and serve until the standard input ends.

    Args:
        root: folder of its files.
        usr: folder of the packages' programs and libraries.
        libraries: folders of the libraries on the phone.
    """
    listening = socket.create_server(("127.0.0.1", 0))  # of the machine's network, for good
    _unshare()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    # Who waits for it may be killed.
    system.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _have_loopback()
    _mount_all(root, usr)
    os.chroot(root)
    os.chdir("/")
    for path in tables.CLOSED:
        os.chmod(path, 0o555)
    _stay_in_the_network()

    def serve() -> None:
        Relay(listening, libraries).serve()

    system.live(serve, _become_the_shell)


def _unshare() -> None:
    """Be the user `shell` of new namespaces; the next process is the first of them."""
    ready, begin = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        # Only from outside can a second user be mapped.
        os.close(begin)
        if os.read(ready, 1):
            _map_users(os.getppid())
        os._exit(0)
    new = NEW_USERS | NEW_MOUNTS | NEW_PROCESSES | NEW_NETWORK
    if system.libc.unshare(new):
        raise OSError(ctypes.get_errno(), "unshare")
    os.write(begin, b"\n")
    _, status = os.waitpid(mapper, 0)
    os.close(begin)
    os.close(ready)
    if status:
        raise OSError("users cannot be mapped")
    system.mount("none", "/", None, system.MS_REC | MS_PRIVATE)


def _map_users(pid: int) -> None:
    """Have the phone's users be somebody outside: `shell` is who runs the tests, unless it is root.

    Root stays root, and `shell` is a user of its own then: without rights in the namespaces, root
    would still own what it owns outside, such as settings of the kernel.
    """
    if os.geteuid() != 0:
        with open(f"/proc/{pid}/setgroups", "w") as groups:
            groups.write("deny")
    for name, own in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        if os.geteuid() == 0:
            _fill(f"/proc/{pid}/{name}", f"{ROOT_USER} {own} 1\n{SHELL_USER} {OUTSIDE} 1")
        else:
            _fill(f"/proc/{pid}/{name}", f"{SHELL_USER} {own} 1")


def _become_the_shell() -> None:
    with contextlib.suppress(PermissionError):  # of who is nobody else already
        os.setgroups([SHELL_USER])
    os.setresgid(*[SHELL_USER] * 3)
    os.setresuid(*[SHELL_USER] * 3)
    system.drop_rights()


def _fill(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as table:
        table.write(text.encode())


def _have_loopback() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        request = struct.pack("16sH14x", b"lo", flags | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def _stay_in_the_network() -> None:
    """Have no sockets to the machine's host, where it has one: these are of no network."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    refuse = 0x50000 | errno.EAFNOSUPPORT
    lines = (
        (load, 0, 0, 0),  # the number of the call
        (jump_if_equal, 0, 2, SOCKET_CALLS[platform.machine()]),
        (load, 0, 0, 16),  # its first argument
        (jump_if_equal, 1, 0, socket.AF_VSOCK),
        (give, 0, 0, affinity.ALLOW),
        (give, 0, 0, refuse),
    )
    affinity.set_filter(lines)


def _mount_all(root: str, usr: str) -> None:
    system.mount(usr, f"{root}/system/usr", None, system.MS_BIND)
    system.protect(f"{root}/system/usr")
    system.mount_devices(root)
    # Of the kernel's own kind, for terminals.
    os.mkdir(f"{root}/dev/pts")
    system.mount("devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=600")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    system.mount_proc(root)
    system.mount(root + NOEXEC, root + NOEXEC, None, system.MS_BIND)
    system.set_attribute(root + NOEXEC, system.ATTR_NOEXEC)
    owner = f"uid={SHELL_USER},gid={SHELL_USER}"
    system.mount("tmpfs", root + SMALL, "tmpfs", 0, f"size={SMALL_MB}m,mode=0771,{owner}")
    # What `shell` writes to: its folders, and the tables of the programs that it runs.
    tables_too = os.path.join(root, tables.STATE[1:])
    names = [os.path.join(tables_too, name) for name in os.listdir(tables_too)]
    for path in (f"{root}/data/local/tmp", root + NOEXEC, tables_too, *names):
        os.chown(path, SHELL_USER, SHELL_USER)


def _connect() -> socket.socket:
    # Not by `socket.create_connection`, which would load more of Python, and outside there is none.
    end = socket.socket()
    try:
        end.connect(("127.0.0.1", PORT))
    except OSError:
        end.close()
        raise
    return end


class Relay:
    """Passes on what the host and adbd say to each other.

    Args:
        listening: of the host's network.
        libraries: folders of adbd's libraries.
    """

    def __init__(self, listening: socket.socket, libraries: str) -> None:
        self._listening = listening
        self._environment = {
            "ADBD_PORT": str(PORT),
            "ANDROID_DATA": "/data",
            "ANDROID_ROOT": "/system",
            "HOME": "/",
            "LD_LIBRARY_PATH": libraries,
            "PATH": "/system/bin",
            "TMPDIR": "/data/local/tmp",
        }
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._is_plugged = True
        self._left: int | None = None
        self._daemon = self._start()

    def serve(self) -> None:
        """Serve until the standard input ends."""
        threading.excepthook = daemon.die
        threading.Thread(target=self._accept, daemon=True).start()
        print(self._listening.getsockname()[1], flush=True)
        for line in sys.stdin:
            self._obey(json.loads(line))
            print("done", flush=True)

    def _obey(self, order: dict[str, Any]) -> None:
        if "listen" in order:
            self._is_plugged = order["listen"]
        if "cut_after" in order:
            self._left = order["cut_after"]
        if order.get("cut"):
            self._cut()
        if order.get("kill"):
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start adbd, and wait until it answers."""
        adbd = subprocess.Popen(
            ["/system/bin/adbd"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=self._environment,
            cwd="/",
            start_new_session=True,
        )
        until = time.monotonic() + PATIENCE_S
        while adbd.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError):
                _connect().close()
                return adbd
            time.sleep(0.02)
        raise RuntimeError("adbd does not answer")

    def _cut(self) -> None:
        with self._lock:
            for end in (end for pair in self._pairs for end in pair):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            host, _ = self._listening.accept()
            if not self._is_plugged:
                host.close()
                continue
            try:
                adbd = _connect()
            except OSError:
                host.close()
                continue
            for end in (host, adbd):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((host, adbd))
            threading.Thread(target=self._join, args=(host, adbd), daemon=True).start()

    def _join(self, host: socket.socket, adbd: socket.socket) -> None:
        back = threading.Thread(target=self._pass, args=(adbd, host), daemon=True)
        back.start()
        self._pass(host, adbd, counts=True)
        back.join()
        with self._lock:
            self._pairs.discard((host, adbd))
            host.close()
            adbd.close()

    def _pass(self, source: socket.socket, target: socket.socket, counts: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK):
                target.sendall(data)
                if counts and self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0:
                        self._left = None
                        break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
