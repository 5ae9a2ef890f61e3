"""A torchvision that does not load is done without where that is possible, and named where not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOADING = """
import sys, tqdm
from mvdeploy.errors import UsageError
from mvdeploy.models import zoo
folder, others = sys.argv[1:]
sys.path = [folder, *(p for p in sys.path if others == "others" or "site-packages" not in p)]
try:
    zoo.load("timm")
except UsageError as error:
    print(error)
"""

USES = "import torchvision"
NEEDS_OPERATORS = """
import torch
from torchvision import part
print("tried")
torch.library.register_fake("torchvision::first")(lambda x: x)
torch.library.register_fake('torchvision::_second')(lambda x: x)
print("loaded")
"""


def load(folder: Path, files: dict[str, str], *, others: bool = False) -> list[str]:
    """Load timm in a new process in which these files are what is installed; `others` as well."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    program = [sys.executable, "-c", LOADING, str(folder), "others" if others else ""]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


def test_operators_that_no_library_declared_are(tmp_path: Path) -> None:
    files = {
        "timm/__init__": USES,
        "torchvision/__init__": NEEDS_OPERATORS,
        "torchvision/part": "print('part')",
    }
    lines = ["part", "tried", "part", "tried", "loaded"]
    assert load(tmp_path, files, others=True) == lines


def test_a_torchvision_that_loads_is_executed_once(tmp_path: Path) -> None:
    files = {
        "timm/__init__": "import torchvision; print(torchvision.__spec__.name)",
        "torchvision/__init__": "print('loaded')",
    }
    assert load(tmp_path, files) == ["loaded", "torchvision"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "timm is not installed. Install it: pip install timm."),
        (
            {"timm/__init__": USES},
            "timm needs torchvision, which is not installed. Install it: pip install timm.",
        ),
        (
            {
                "timm/__init__": USES,
                "torchvision/__init__": "raise RuntimeError('built for CUDA 13.0.\\nmore')",
            },
            "timm is installed but does not load: built for CUDA 13.0. Install versions that fit "
            "each other; python -c 'import timm' shows the whole error.",
        ),
        (
            {
                "timm/__init__": "import timm.models",
                "timm/models": "try:\n  import torchvision\n"
                "except ImportError as e:\n  raise ImportError('no models') from e",
                "torchvision/__init__": "import torchvision.gone",
            },
            "timm needs torchvision.gone, which is not installed.",
        ),
        (
            {"timm/__init__": "import timm.models"},
            "timm is installed but does not load: No module named 'timm.models'.",
        ),
    ],
)
def test_not_installed_is_told_from_does_not_load(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    (line,) = load(tmp_path, files)
    assert line.startswith(message)
