"""Eight cores for programs on a machine that may have two.

Programs ask the system to bind them to a phone's cores, and check that it has. A seccomp filter
hands these two calls to a thread that keeps the masks, so that both succeed; where the programs
really run is the machine's affair.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import platform
import struct
import threading
from collections.abc import Container, Sequence

CORES = 8
CALLS = {"x86_64": (203, 204, 317), "aarch64": (122, 123, 277)}
"""Numbers of sched_setaffinity, sched_getaffinity and seccomp."""

PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER, NEW_LISTENER = 1, 8
ALLOW, USER_NOTIFY = 0x7FFF0000, 0x7FC00000
RECEIVE, SEND = 0xC0502100, 0xC0182101

REQUEST = struct.Struct("<QIIiIQ6Q")
ANSWER = struct.Struct("<QqiI")


Line = tuple[int, int, int, int]


class _Filter(ctypes.Structure):
    _fields_ = (("size", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def _program(*calls: int) -> list[Line]:
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    lines: list[Line] = [(load, 0, 0, 0)]  # the number of the call
    for left, call in enumerate(reversed(calls)):
        lines.insert(1, (jump_if_equal, left + 1, 0, call))
    return [*lines, (give, 0, 0, ALLOW), (give, 0, 0, USER_NOTIFY)]


def start(off: Container[int] = ()) -> None:
    """Filter this process and all that it will start. Call it before it has threads.

    Args:
        off: cores that are switched off, or kept for others.
    """
    calls = CALLS[platform.machine()]
    listener = set_filter(_program(*calls[:2]), NEW_LISTENER)
    masks = _Masks(listener, calls[0], sum(1 << n for n in range(CORES) if n not in off))
    threading.Thread(target=masks.answer, daemon=True).start()


def set_filter(lines: Sequence[Line], flags: int = 0) -> int:
    """Have the kernel look at the calls of this process, and of all that it will start.

    Args:
        lines: of the filter: operation, two jumps, operand.
        flags: of the call.

    Returns:
        the descriptor of the listener, if the flags ask for one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    packed = b"".join(struct.pack("<HBBI", *line) for line in lines)
    program = _Filter(len(lines), packed)
    seccomp = CALLS[platform.machine()][2]
    descriptor: int = libc.syscall(seccomp, SET_MODE_FILTER, flags, ctypes.byref(program))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return descriptor


class _Masks:
    def __init__(self, listener: int, call_set: int, all_of_them: int) -> None:
        self._listener, self._call_set = listener, call_set
        self._all = all_of_them
        self._masks: dict[int, int] = {}

    def answer(self) -> None:
        while True:
            request = bytearray(REQUEST.size)
            try:
                fcntl.ioctl(self._listener, RECEIVE, request)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue  # who asked has ended
                raise
            number, asker, _, call, _, _, pid, size, address, *_ = REQUEST.unpack(request)
            try:
                serve = self._set if call == self._call_set else self._get
                value, failure = serve(asker, (pid & 0xFFFFFFFF) or asker, size, address), 0
            except OSError as error:
                value, failure = 0, -(error.errno or errno.EFAULT)
            try:
                fcntl.ioctl(self._listener, SEND, ANSWER.pack(number, value, failure, 0))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def _set(self, asker: int, pid: int, size: int, address: int) -> int:
        with open(f"/proc/{asker}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            mask = int.from_bytes(memory.read(min(size, 128)), "little") & self._all
        if not mask:
            raise OSError(errno.EINVAL, "none of these cores")
        self._masks[pid] = mask
        return 0

    def _get(self, asker: int, pid: int, size: int, address: int) -> int:
        if size < 8:
            raise OSError(errno.EINVAL, "too small")
        with open(f"/proc/{asker}/mem", "wb", buffering=0) as memory:
            memory.seek(address)
            memory.write(self._mask(pid).to_bytes(8, "little"))
        return 8

    def _mask(self, pid: int) -> int:
        """Return the mask of a thread; it has that of whoever started it until it gets its own."""
        while pid:
            if pid in self._masks:
                return self._masks[pid]
            group, parent = _family(pid)
            pid = group if group != pid else parent
        return self._all


def _family(pid: int) -> tuple[int, int]:
    found = {"Tgid": 0, "PPid": 0}
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name in found:
                    found[name] = int(value)
    except FileNotFoundError:
        return pid, 0
    return found["Tgid"], found["PPid"]
