"""Damaged ExecuTorch programs, through the runner, past the checksum.

Every one ends in a result or in an error with a message, whatever becomes of the engine. Most of a
runner's time goes into importing the engine, so a server imports it once and forks for each job;
all the rest is the real link and the real runner.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from mvdeploy.links import RunnerFailed
from mvdeploy.links.families.host import HostLink
from mvdeploy.records import DeviceProfile, Job, JobModel, JobResult, Warmup

LIMIT_S = 30.0
SHAPE = (1, 3, 16, 16)

SERVER = """
import os, signal, socket, sys
from mvdeploy.runners import host
from mvdeploy.engines import executorch
executorch.start()
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    client, _ = listening.accept()
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        runner = os.fork()
        if runner == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            try:
                host.main()
                os._exit(0)
            except SystemExit as end:
                os._exit(end.code)
        _, status = os.waitpid(runner, 0)
        client.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    client.close()
    for stream in streams:
        os.close(stream)
"""

CLIENT = """
import os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
socket.send_fds(server, [b"x"], [0, 1, 2])
status = int(server.recv(16) or b"99")
if status < 0:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class Net(nn.Module):
    """A delegate, a kernel, and a delegate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu().cumsum(2)
        return self.head(x.mean((2, 3), keepdim=True).flatten(1)).softmax(-1)


@pytest.fixture(scope="module")
def program() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mvdeploy.formats.executorch import lowering
        from mvdeploy.formats.executorch.backends import xnnpack

        torch.manual_seed(0)
        exported = torch.export.export(Net().eval(), (torch.rand(SHAPE),))
        with xnnpack.lowering():
            return lowering.lower(exported, xnnpack, {}).data


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostLink]:
    address = str(tmp_path_factory.mktemp("server") / "s")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        command = (sys.executable, "-S", "-E", "-c", CLIENT, address)
        with HostLink(DeviceProfile("host", "", "host", ("executorch",)), command) as link:
            yield link
        left = psutil.Process(server.pid).children(recursive=True)
        assert [p for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        for process in psutil.Process(server.pid).children(recursive=True):
            process.kill()
        server.kill()
        server.communicate()


def job_for(folder: Path, program: bytes, name: str, sha256: str = "") -> Job:
    path, tensor = folder / f"{name}.pte", folder / f"{name}.npy"
    path.write_bytes(program)
    np.save(tensor, np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    digest = sha256 or hashlib.sha256(program).hexdigest()
    model = JobModel("executorch", str(path), digest, {"image": str(tensor)})
    return Job((model,), (0, 0), threads=1, warmup=Warmup(iterations=1))


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 4, 16])):
        data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255])


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def splice(data: bytearray, rng: random.Random) -> None:
    start, length = rng.randrange(len(data)), rng.choice([4, 16, 256])
    piece = data[start : start + length]
    to = rng.randrange(len(data))
    data[to : to + len(piece)] = piece


def zero(data: bytearray, rng: random.Random) -> None:
    start, length = rng.randrange(len(data)), rng.choice([4, 32, 512])
    length = min(length, len(data) - start)
    data[start : start + length] = bytes(length)


def shift(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(data)), rng.choice([1, 4, 64])
    if rng.random() < 0.5:
        del data[at : at + length]
    else:
        data[at:at] = rng.randbytes(length)


def damaged(program: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    data = bytearray(program)
    rng.choice([flip, flip, overwrite, truncate, splice, zero, shift])(data, rng)
    return bytes(data)


def outcome(link: HostLink, job: Job) -> JobResult | RunnerFailed:
    try:
        return link.run(job, LIMIT_S)
    except RunnerFailed as failed:
        return failed


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(12), id="12"),
        pytest.param(range(12, 72), id="60 more", marks=pytest.mark.slow),
    ],
)
def test_damaged_programs_end_in_a_result_or_a_message(
    link: HostLink, program: bytes, tmp_path: Path, seeds: range
) -> None:
    jobs = [job_for(tmp_path, damaged(program, seed), str(seed)) for seed in seeds]
    before = psutil.Process().children()  # the server
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda job: outcome(link, job), jobs))
    results = [end for end in ends if isinstance(end, JobResult)]
    failures = [end for end in ends if isinstance(end, RunnerFailed)]
    for failed in failures:
        assert failed.exit_code == 4
        assert failed.message.endswith(".") and ".pte" in failed.message
        assert failed.remedy.endswith(".")
        assert "Traceback" not in failed.message
        assert "did not keep its contract" not in failed.message
    for result in results:
        assert len(result.samples) == 2
    # Not all of one kind: the test would say nothing then.
    assert results and failures
    assert any("ExecuTorch could not load" in failed.message for failed in failures)
    assert psutil.Process().children() == before


def test_the_program_as_it_is_runs(link: HostLink, program: bytes, tmp_path: Path) -> None:
    result = link.run(job_for(tmp_path, program, "good"), LIMIT_S)
    assert len(result.samples) == 2
    assert result.hello["engine_options"] == {
        "executorch": {"num_threads": 1, "program_verification": "InternalConsistency"}
    }


def weight_flipped(program: bytes) -> bytes:
    """Change one bit of a weight: its bytes are those of the network's tensor."""
    torch.manual_seed(0)
    start = program.index(Net().head.bias.detach().numpy().tobytes())
    data = bytearray(program)
    data[start + 2] ^= 0x40
    return bytes(data)


def test_a_flipped_weight_is_refused_before_it_is_loaded(
    link: HostLink, program: bytes, tmp_path: Path
) -> None:
    true = hashlib.sha256(program).hexdigest()
    with pytest.raises(RunnerFailed, match=r"SHA-256 is .*, not ") as caught:
        link.run(job_for(tmp_path, weight_flipped(program), "flipped", true), LIMIT_S)
    assert [event["event"] for event in caught.value.events] == ["hello", "error"]
    assert caught.value.events[-1]["kind"] == "input"


def test_the_engine_itself_does_not_notice_a_flipped_weight(
    link: HostLink, program: bytes, tmp_path: Path
) -> None:
    """If this fails, the checksum is no longer all that protects from wrong numbers."""
    good = link.run(job_for(tmp_path, program, "good"), LIMIT_S)
    wrong = link.run(job_for(tmp_path, weight_flipped(program), "flipped"), LIMIT_S)
    assert wrong.models[0].output_sha256 != good.models[0].output_sha256


def test_the_real_runner_words_the_engines_reason(program: bytes, tmp_path: Path) -> None:
    job = job_for(tmp_path, program[: len(program) // 2], "half")
    link = HostLink(DeviceProfile("host", "", "host", ("executorch",)))
    words = r"half\.pte: the program is invalid: File size is too small"
    with link, pytest.raises(RunnerFailed, match=words) as caught:
        link.run(job, LIMIT_S)
    assert caught.value.events[-1]["kind"] == "load"
    assert "Resetting" not in caught.value.output
