"""A file of the user's runs as Python runs it, and leaves the process as it was."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError

BLOCKS = """
from torch import nn


class Block(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
NET = """
from torch import nn
from {blocks} import Block


def make():
    import late
    return nn.Sequential(Block(), nn.Linear(late.WIDTH, 5))


make.image_size = 16
if __name__ == "__main__":
    raise SystemExit("run as a program")
"""


def write(folder: Path, width: int, blocks: str = "blocks", name: str = "net.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blocks.py").write_text(BLOCKS.replace("WIDTH", str(width)))
    (folder / "late.py").write_text(f"WIDTH = {width}")
    (folder / name).write_text(NET.format(blocks=blocks))
    return folder / name


def width(path: Path) -> int:
    network = models.build(models.make_spec(f"{path}:make"))
    return network.get_parameter("0.0.weight").shape[0]


def test_modules_beside_it_are_its_own(tmp_path: Path) -> None:
    """Also those of two files in two folders, that have one name, in turns."""
    first, second = write(tmp_path / "one", 4), write(tmp_path / "two", 6)
    assert [width(path) for path in (first, second, first, second)] == [4, 6, 4, 6]


def test_it_may_be_in_a_package(tmp_path: Path) -> None:
    path = write(tmp_path / "own_models" / "small", 4, ".blocks")
    path.with_name("late.py").unlink()
    (tmp_path / "late.py").write_text("WIDTH = 4")
    for folder in (path.parent, path.parent.parent):
        (folder / "__init__.py").write_text("")
    assert width(path) == 4
    assert sys.modules["own_models.small.net"].__file__ == str(path)


def test_paths_may_have_colons_and_spaces(tmp_path: Path) -> None:
    assert width(write(tmp_path / "a b:c", 4)) == 4
    assert width(write(tmp_path / "d", 4, name="my net:1.py")) == 4


@pytest.mark.parametrize("name", ["json.py", "torch.py"])
def test_it_may_be_called_as_a_library_is(name: str, tmp_path: Path) -> None:
    import json

    assert width(write(tmp_path, 4, name=name)) == 4
    assert sys.modules["json"] is json and sys.modules["torch"] is torch
    done = subprocess.run(
        [sys.executable, "-m", "mvdeploy", "describe", f"{name}:make"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


ENDS = {
    "argparse": (
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--data', required=True)\nparser.parse_args()\n",
        "ends the program: net.py: error: the following arguments are required: --data. Keep what",
    ),
    "exit": ("import sys\nsys.exit(3)\n", "net.py ends the program: exit 3. Keep what it does"),
    "usage": ("print('usage: net.py DATA')\nexit()\n", "ends the program: usage: net.py DATA."),
    "reason": ("raise SystemExit('no GPU')\n", "ends the program: no GPU. Keep what"),
    "import": ("import torch\nimport gone_missing\n", "failed (net.py, line 2): ModuleNotFound"),
    "syntax": ("def make(:\n", "net.py failed (net.py, line 1): SyntaxError: invalid syntax"),
    "strange": ("class Odd(BaseException): pass\nraise Odd('no')\n", "(net.py, line 2): Odd: no."),
    "lines": ("raise ValueError('one\\ntwo')\n", "ValueError: one. Mend it"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_a_file_that_ends_or_fails_is_an_error_of_a_sentence(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, message = ENDS[kind]
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(UsageError) as caught:
        models.make_spec(f"{tmp_path}/net.py:make")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_function_that_exits_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import sys\ndef make(): sys.exit('no weights found')\n")
    with pytest.raises(UsageError, match=r"net\.py:make ends the program: no weights found\."):
        models.make_spec(f"{tmp_path}/net.py:make")


SETS = """
import os, random, sys
import numpy, torch
from torch import nn

assert sys.argv == [__file__], sys.argv
print("loading")
torch.set_default_dtype(torch.float64)
torch.set_num_threads(torch.get_num_threads() + 1)
torch.set_grad_enabled(False)
torch.manual_seed(7), random.seed(7), numpy.random.seed(7)
os.chdir("/")


def make():
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("meta")
    torch.set_default_device("cpu")
    print("making", file=sys.stderr)
    return nn.Sequential(nn.Conv2d(3, 5, 16), nn.Flatten())


make.image_size = 16
"""


def test_the_process_stays_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(SETS)

    def state() -> tuple[object, ...]:
        return (
            *(Path.cwd(), sys.argv, torch.get_default_dtype(), torch.get_default_device()),
            *(torch.get_num_threads(), torch.is_grad_enabled(), torch.get_rng_state().tolist()),
            *(random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]),
        )

    before, places = state(), list(sys.path)
    spec = models.make_spec(f"{tmp_path}/net.py:make")
    assert state() == before
    assert sys.path == [*places, str(tmp_path)]
    assert spec.num_classes == 5
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[:2] == ["loading", "making"]


def test_a_network_that_nobody_seeds_is_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import random\nimport numpy\nfrom torch import nn\n"
        "def make():\n"
        "    net = nn.Sequential(nn.Conv2d(3, 5, 16), nn.Flatten())\n"
        "    net[0].bias.data[:2] = net[0].bias.new([random.random(), numpy.random.rand()])\n"
        "    return net\n"
        "make.image_size = 16\n"
    )
    spec = models.make_spec(f"{tmp_path}/net.py:make")
    assert models.fingerprint(models.build(spec)) == models.fingerprint(models.build(spec))
