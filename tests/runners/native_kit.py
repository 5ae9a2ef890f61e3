"""The native runner for tests: the one of this machine, and the one of an emulated arm64."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import kits
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from tests.android.fixtures import demand
from tests.android.kit import aarch64_kit, shared_kit

__all__ = ["aarch64_kit", "arm64_native", "host_kit", "make_job", "native", "plugins", "run"]

MakeJob = Callable[..., Job]
Run = Callable[..., "Ended"]

STAND_IN = Path(__file__).parent / "native_engine.c"

_ARM64_CORE = """\
processor\t: {core}
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 1

"""


@dataclasses.dataclass(frozen=True)
class Ended:
    """What came out of a native runner."""

    status: int
    lines: list[str]
    stderr: str

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]

    @property
    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["event"] == kind]


@dataclasses.dataclass(frozen=True)
class NativeRunner:
    """The runner of a kit.

    Attributes:
        folder: of the kit.
        words: that start it there.
    """

    folder: Path
    words: tuple[str, ...]

    def run(self, job: Job | str | bytes, *options: str | Path) -> Ended:
        """Give it a job, or whatever, and wait for its end."""
        text = dumps(job) if isinstance(job, Job) else job
        done = subprocess.run(
            [*self.words, *map(str, options)],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            cwd=self.folder,
            timeout=300,
            check=False,
        )
        # Lines end in one way only; a text may hold other separators.
        lines = done.stdout.decode().removesuffix("\n").split("\n") if done.stdout else []
        return Ended(done.returncode, lines, done.stderr.decode(errors="replace"))


@pytest.fixture(scope="session")
def host_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the kit for this machine; workers of one run share it."""
    for program in ("cmake", "gcc", "g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    return shared_kit(platform.machine(), tmp_path_factory)


@pytest.fixture(scope="session")
def native(host_kit: Path) -> NativeRunner:
    """The native runner of this machine."""
    return NativeRunner(host_kit, kits.load(host_kit).command)


@pytest.fixture(scope="session")
def arm64_native(aarch64_kit: Path, tmp_path_factory: pytest.TempPathFactory) -> NativeRunner:
    """The native runner of an arm64 Linux; elsewhere an emulator runs it."""
    command = kits.load(aarch64_kit).command
    if platform.machine() == "aarch64":
        return NativeRunner(aarch64_kit, command)
    demand("the program qemu-aarch64-static", shutil.which("qemu-aarch64-static") is not None)
    root = write_arm64_root(tmp_path_factory.mktemp("arm64"))
    emulator = ("qemu-aarch64-static", "-cpu", "cortex-a76", "-L", str(root))
    return NativeRunner(aarch64_kit, (*emulator, *command))


def write_arm64_root(root: Path, cores: Sequence[int] = (0, 1)) -> Path:
    """Write what an emulated program finds of the processor; ONNX Runtime crashes without it."""
    system = root / "sys/devices/system/cpu"
    for folder in (root / "proc", system):
        folder.mkdir(parents=True)
    text = "".join(_ARM64_CORE.format(core=core) for core in cores)
    (root / "proc/cpuinfo").write_text(text)
    for name in ("online", "possible", "present"):
        (system / name).write_text(f"{cores[0]}-{cores[-1]}\n")
    return root


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in engine, and its relatives that cannot even be started."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, *flags in (
        ("steady",),
        ("crashing", "-DCRASHES"),
        ("unwilling", "-DREFUSES"),
        ("old", "-DOLD"),
    ):
        words = ["gcc", "-shared", "-fPIC", f"-I{kits.code()}", *flags]
        library = folder / f"libmvdeploy_{name}.so"
        subprocess.run([*words, STAND_IN, "-o", library], check=True)
    (folder / "libmvdeploy_broken.so").write_text("no library")
    return folder


@pytest.fixture
def run(native: NativeRunner, plugins: Path) -> Run:
    """Return a function that gives the runner a job for the stand-in engine."""

    def run(job, *options):
        return native.run(job, "--plugins", plugins, *options)

    return run


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """Return a function that makes a job of models that behave in given ways."""
    tensor = tmp_path / "x.npy"
    np.save(tensor, np.arange(6, dtype=np.float32).reshape(2, 3))

    def make(*behaviours, order=(0, 0, 0), engine="steady", **fields):
        models = []
        for index, behaviour in enumerate(behaviours):
            path = tmp_path / f"model{index}"
            path.write_text(behaviour)
            models.append(JobModel(engine, str(path), sha256(path), {"x": str(tensor)}))
        job = Job(tuple(models), order, threads=1, warmup=Warmup(iterations=2))
        return dataclasses.replace(job, **fields)

    return make


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def with_model(job: Job, **fields) -> Job:
    """Return the job with another first model."""
    first, *rest = job.models
    return dataclasses.replace(job, models=(dataclasses.replace(first, **fields), *rest))


def asking(job: Job, **fields) -> str:
    """The text of the job, with other fields of its first model."""
    body = json.loads(dumps(job))
    body["models"][0] |= fields
    return json.dumps(body)


def failure(ended: Ended) -> dict:
    """The error event of a job that failed as the contract says."""
    assert ended.status == 4, ended
    assert ended.kinds[-1] == "error"
    assert ended.kinds.count("error") == 1
    error = ended.events[-1]
    assert error["message"].endswith(".")
    assert error["remedy"].endswith(".")
    return error
