"""A process that has imported what is heavy, and forks a child for each command.

A command in a new Python spends seconds in imports; a fork of this process has done them. What a
child does is its own: arguments, folder, environment, files, and whatever it imports or starts.
What is tested of a start itself (imports, signals, hash seeds) needs a true one: `subprocess`.

A connection carries a request and the files of the child, and brings back its process and its exit
status, a line each. When it is closed before that, the child and all that it started are killed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
RELAY = Path(__file__).with_name("warm_relay.py")
RUNNER = "mvdeploy.runners.host:main"

# Not onnxruntime, which starts a thread: a fork of a process with threads may wait for ever.
HEAVY = (
    *("PIL.ImageOps", "PIL.JpegImagePlugin", "jinja2", "matplotlib.backends.backend_agg"),
    *("matplotlib.figure", "rich.console", "rich.table", "safetensors.torch", "scipy.stats"),
    *("coremltools", "torch", "torch._dynamo", "torch._export.db.logging", "torch.export._trace"),
    *("torch.utils.flop_counter", "torch.onnx._internal.exporter._torchlib.ops"),
    *("onnxscript._framework_apis.torch_2_11", "onnxscript.function_libs.torch_lib.ops"),
    *("onnxscript.rewriter.onnx_fusions", "torch._inductor.fx_passes.dedupe_symint_uses"),
    *("mvdeploy.formats.onnx", "mvdeploy.formats.pytorch", "mvdeploy.formats.coreml.conversion"),
    *("mvdeploy.formats.executorch.lowering", "mvdeploy.formats.executorch.saving"),
    *("mvdeploy.formats.executorch.backends.xnnpack", "mvdeploy.models.random_weights"),
    *("executorch.backends.xnnpack.partition.xnnpack_partitioner", "mvdeploy.runners.host"),
    *("mvdeploy.models.families.mobilevit", "mvdeploy.models.families.yardstick.network"),
    *("mvdeploy.pipeline.bench", "mvdeploy.pipeline.compare", "mvdeploy.pipeline.export"),
    *("mvdeploy.pipeline.report", "mvdeploy.pipeline.verify", "mvdeploy.verify.mil"),
)


def started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``mvdeploy`` in a new Python, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mvdeploy", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


class Server:
    """The warm process, from the side of a test.

    Who needs it first starts it, and it ends with the last of those that have it.

    Args:
        folder: where its socket lies; who gives the same has the same process. It is removed in the
            end.
        modules: what it imports.
    """

    def __init__(self, folder: Path, modules: tuple[str, ...] = HEAVY) -> None:
        self.socket = folder / "warm"
        from tests import shared  # here, because the process itself has no use for pytest

        held, pid = folder / "held", folder / "pid"
        with shared.locked(folder / "lock"):
            if not held.exists():
                os.mkfifo(held)
            # Its standard input, which ends when nobody has the other end open any more.
            stdin = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
            self._held = os.open(held, os.O_WRONLY)
            if not self._listens():
                self.socket.unlink(missing_ok=True)
                pid.write_text(self._start(modules, stdin))
            os.close(stdin)
        self.pid = int(pid.read_text())

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket)) == 0

    def _start(self, modules: tuple[str, ...], stdin: int) -> str:
        """Start it, and return its number when it is ready."""
        with subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(self.socket), *modules],
            cwd=ROOT,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Forks of it need a process without threads, also of pyarrow's memory.
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "JE_ARROW_MALLOC_CONF": "background_thread:false",
            },
            text=True,
        ) as starting:
            assert starting.stdout is not None
            return starting.stdout.readline()

    def close(self) -> None:
        """Have it no more."""
        os.close(self._held)

    def mvdeploy(
        self, *arguments: str, cwd: Path, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run ``mvdeploy`` with these arguments, and return what `subprocess.run` would."""
        with self.start(*arguments, cwd=cwd) as running:
            return running.wait(timeout)

    @contextlib.contextmanager
    def start(
        self,
        *arguments: str,
        cwd: Path,
        call: str = "mvdeploy.cli:main",
        limits: Mapping[str, int] | None = None,
    ) -> Iterator[Running]:
        """Start ``mvdeploy``, or another function; what is left at the end is killed.

        Args:
            arguments: on its command line.
            cwd: its folder.
            call: module and name of the function.
            limits: of its resources, by names of the module `resource`.
        """
        request = {
            "call": call,
            "argv": ["mvdeploy", *arguments],
            "cwd": str(cwd),
            "env": dict(os.environ),
            "limits": dict(limits or {}),
        }
        with (
            open(os.devnull, "rb") as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            tempfile.TemporaryFile() as asked,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            asked.write(json.dumps(request).encode())
            asked.flush()
            connection.connect(str(self.socket))
            files = [file.fileno() for file in (nothing, out, err, asked)]
            socket.send_fds(connection, [b"."], files)
            with connection.makefile("rb") as lines:
                yield Running(["mvdeploy", *arguments], connection, lines, files[1:3])


class Running:
    """A command in a fork.

    Attributes:
        pid: of the fork, which leads a session of its own.
    """

    def __init__(
        self, argv: list[str], connection: socket.socket, lines: IO[bytes], files: list[int]
    ) -> None:
        self._argv, self._connection, self._lines, self._files = argv, connection, lines, files
        self.pid = int(lines.readline())

    def wait(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Return what `subprocess.run` would.

        Raises:
            TimeoutError: it is still running.
        """
        self._connection.settimeout(timeout)
        status = int(self._lines.readline())
        return subprocess.CompletedProcess(self._argv, status, *map(_text, self._files))


def _text(number: int) -> str:
    os.lseek(number, 0, os.SEEK_SET)
    with open(number, encoding="utf-8", errors="backslashreplace", closefd=False) as file:
        return file.read()


# In the warm process


class _Forking:
    """Forks a child for each connection, and tells each how its child ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._children: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._ended, ended = socket.socketpair()
        ended.setblocking(False)
        signal.set_wakeup_fd(ended.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._open = [self._listener, self._ended, ended]

    def serve(self) -> Callable[[], object]:
        """Serve until standard input ends; return in each child, with what it is to do."""
        for source in (sys.stdin, self._listener, self._ended):
            self._selector.register(source, selectors.EVENT_READ)
        os.write(1, b"%d\n" % os.getpid())
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    self._listener.close()
                    self._kill(*self._children)
                    shutil.rmtree(Path(self._path).parent, ignore_errors=True)
                    os._exit(0)
                elif key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._reap()
                elif key.fileobj is self._listener:
                    if (todo := self._fork()) is not None:
                        return todo
                elif key.data in self._children:  # nobody waits for it any more
                    self._selector.unregister(key.fileobj)
                    self._kill(key.data)

    def _fork(self) -> Callable[[], object] | None:
        connection, _ = self._listener.accept()
        _, files, _, _ = socket.recv_fds(connection, 1, 4)
        if len(files) < 4:
            connection.close()
            return None
        pid = os.fork()
        if pid == 0:
            for other in (*self._open, connection, *self._children.values()):
                other.close()
            self._selector.close()
            return _become(files, self._path)
        for number in files:
            os.close(number)
        self._children[pid] = connection
        with contextlib.suppress(OSError):
            connection.send(b"%d\n" % pid)
        self._selector.register(connection, selectors.EVENT_READ, pid)
        return None

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                connection = self._children.pop(pid)
                with contextlib.suppress(KeyError):
                    self._selector.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.send(b"%d\n" % os.waitstatus_to_exitcode(status))
                connection.close()

    @staticmethod
    def _kill(*children: int) -> None:
        for pid in children:
            # A child makes its group first of all; until then only the child itself is there.
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)


def _become(files: list[int], path: str) -> Callable[[], object]:
    """Make this fork what was asked for, and return what it is to do."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, number in enumerate(files[:3]):
        os.dup2(number, target)
    request: dict[str, Any] = json.loads(_text(files[3]))
    for number in files:
        os.close(number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    for name, most in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    sys.argv = request["argv"]
    module, name = request["call"].split(":")
    # The runners that a command starts on this machine are forks as well.
    from mvdeploy.links.families import host

    relay = (sys.executable, "-I", "-S", str(RELAY), path, RUNNER)
    host.connect = lambda profile, *options: host.HostLink(profile, relay)
    call: Callable[[], object] = getattr(importlib.import_module(module), name)
    return call


def _import(*modules: str) -> None:
    from mvdeploy.formats.executorch import quiet as executorch_quiet
    from mvdeploy.verify.mil.program import quiet as coreml_quiet

    with executorch_quiet(), coreml_quiet():
        for name in modules:
            importlib.import_module(name)
        if modules:  # the first export looks all of torch's operators up
            importlib.import_module("torch._export.utils")._collect_all_valid_cia_ops()
            importlib.import_module("tests.quick_exports").ONNXRegistry.from_torchlib()
    threads = Path("/proc/self/task")
    assert not threads.exists() or len(list(threads.iterdir())) == 1
    gc.collect()
    gc.freeze()


def _end(todo: Callable[[], object]) -> NoReturn:
    """Do it and end as Python does, without taking all modules apart, which takes 0.3 s."""
    status: object = 0
    try:
        todo()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    # Not a child of who started it: tests look for children that are left.
    if os.fork():
        os._exit(0)
    _import(*sys.argv[2:])
    _end(_Forking(sys.argv[1]).serve())
