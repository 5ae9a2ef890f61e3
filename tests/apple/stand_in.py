"""Puts the stand-ins in place, and starts runners that use them.

`install` does so inside a process, before coremltools is imported. Importing coremltools and torch
takes seconds, so `Server` does it once and forks for every job, and for every start of the app on
the phone; all the rest is the real link, the real
runner and coremltools' own code, unmodified. Only what it takes for granted on a Mac is given to
it: the version of macOS, and where the app's project is. Its waiting is shortened ten times.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from mvdeploy import files
from mvdeploy.records import Job, JobModel, Warmup
from tests.apple import predictions, programs

ROOT = Path(__file__).parents[2]
TEAM = "ABCDE12345"
POLL_S = 0.05

SERVER = """
import json, os, pathlib, select, signal, socket, sys, traceback
sys.path.insert(0, sys.argv[2])
from tests.apple import stand_in
stand_in.install(sys.argv[3])
from mvdeploy.runners import apple
from mvdeploy.engines import coreml
from mvdeploy.verify.mil import session
from tests.apple import model_runner
coreml.start()
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    client, _ = listening.accept()
    message, streams, _, _ = socket.recv_fds(client, 65536, 3)
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        runner = os.fork()
        if runner == 0:
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            asked = json.loads(message)
            os.environ.clear()
            os.environ.update(asked["environment"], MVDEPLOY_STAND_IN_SERVER=sys.argv[1])
            sys.argv = ["apple", *asked["words"]]
            coreml.LOAD_ATTEMPTS = int(os.environ.get("MVDEPLOY_STAND_IN_ATTEMPTS", 3))
            status = 0
            try:
                if "app" in asked:
                    model_runner.App(pathlib.Path(asked["app"])).run()
                else:
                    apple.main()
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
                status = 1
            finally:
                sys.stderr.flush()
                os._exit(status)
        # Until it ends, or who asked for it is there no more.
        select.select([client, os.pidfd_open(runner)], [], [])
        try:
            os.killpg(runner, signal.SIGKILL)  # as the link does with what a runner leaves
        except ProcessLookupError:
            os.kill(runner, signal.SIGKILL)  # it has no group of its own yet
        _, status = os.waitpid(runner, 0)
        try:
            client.send(str(os.waitstatus_to_exitcode(status)).encode())
        except BrokenPipeError:
            pass
        os._exit(0)
    client.close()
    for stream in streams:
        os.close(stream)
"""

CLIENT = """
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
asked = {"words": sys.argv[2:], "environment": dict(os.environ)}
socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
sys.exit(int(server.recv(16) or b"99"))
"""


def install(folder: str) -> None:
    """Have coremltools find the stand-ins; call it before coremltools is imported.

    Args:
        folder: that `make` made.
    """
    from tests.apple import native

    sys.modules["coremltools.libcoremlpython"] = native
    import coremltools.models.utils as utils
    from coremltools.models.ml_program.experimental import remote_device

    utils._macos_version = lambda: (15, 0)
    project = Path(folder) / "coremltools" / "modelrunner"
    remote_device._ModelRunnerAppBuilder._get_project_path = staticmethod(lambda: project)
    remote_device._DeviceCtlRemoteService.__init__.__defaults__ = (POLL_S, 20)


class StandIn:
    """A Mac with Xcode and one phone, in a folder.

    Args:
        folder: new.
        faults: of the phone, such as ``die_at=3``; see `programs` and `model_runner`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools, self.phone = folder / "coremltools", folder / "phone"
        (self.tools / "modelrunner" / "ModelRunner.xcworkspace").mkdir(parents=True)
        (self.tools / "libcoremlpython.stand-in").touch()
        self.phone.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("xcrun", "devicectl", "xcodebuild"):
            self.add_program(name)
        self.set()

    def add_program(self, name: str) -> None:
        path = self.programs / name
        script = Path(programs.__file__)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{script}" {name} "$@"\n')
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "MVDEPLOY_STAND_IN": str(self.tools),
            "MVDEPLOY_STAND_IN_PHONE": str(self.phone),
            "MVDEPLOY_STAND_IN_PYTHON": sys.executable,
            "MVDEPLOY_APPLE_TEAM": TEAM,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def set(self, faults: dict | None = None, **state: str) -> None:
        """Say how the phone is, and what is to go wrong."""
        programs.save_phone(self.phone, {**programs.NEW, **state, "faults": faults or {}})

    def commands(self) -> list[str]:
        """Return what was asked of xcrun, devicectl and xcodebuild so far."""
        log = self.phone / "commands.log"
        return log.read_text().splitlines() if log.exists() else []

    def calls(self) -> list[str]:
        """Return what the app was asked so far, with the compute units."""
        log = self.phone / "calls.log"
        return [line.strip() for line in log.read_text().splitlines()] if log.exists() else []


class Server:
    """Starts runners in which coremltools is already imported, with the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "s")
        tools = folder / "tools"
        StandIn(tools)
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, self.address, str(ROOT), str(tools)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if ready != "ready\n":
            raise RuntimeError(self._process.communicate()[1])

    @property
    def command(self) -> tuple[str, ...]:
        """The runner's command line for a link."""
        return (sys.executable, "-S", "-E", "-c", CLIENT, self.address)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


SHAPE = (1, 3, 8, 8)
OUTPUTS = ("conv2d", "silu", "mean", "logits")
"""Outputs of the operators of `write_package`'s program, in order."""


def write_package(path: Path, *, image: bool = False, author: str = "") -> Path:
    """Convert a small network and save it."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.silu(self.conv(x)).mean((2, 3)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        torch.manual_seed(0)
        exported = torch.export.export(Net().eval(), (torch.rand(SHAPE),)).run_decompositions({})
        kind = ct.ImageType if image else ct.TensorType
        model = ct.convert(
            exported,
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            inputs=[kind(name="image", shape=SHAPE)],
            outputs=[ct.TensorType(name="logits")],
            skip_model_load=True,
        )
        model.author = author
        model.save(str(path))
    return path


def write_input(path: Path) -> Path:
    np.save(path, np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    return path


def expected(tensor: Path) -> np.ndarray:
    """Return what the stand-ins' fixed function makes of an input."""
    number = predictions.mixed(np.load(tensor))
    return (np.arange(5).reshape(1, 5) + number).astype(np.float32)


def digest(output: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()


def job_for(
    package: Path, tensor: Path, *units: str, order=(0, 0, 0), profile_to=None, **fields
) -> Job:
    """Return a job with one model for each name of compute units."""
    models = tuple(
        JobModel(
            "coreml",
            str(package),
            files.sha256(package),
            {"image": str(tensor)},
            profile_to,
            {"compute_units": name} if name else {},
        )
        for name in units or ("",)
    )
    return Job(models, order, threads=1, warmup=Warmup(iterations=2), **fields)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
