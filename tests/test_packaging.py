from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

import mvdeploy

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*words, cwd):
    """Run a program without what this interpreter's environment says about paths."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(dist):
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    program = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", program, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    # The dependencies are those of this interpreter: what is tested is the wheel, not the download
    # of torch. A folder named in a .pth file comes after the environment's own packages, and .pth
    # files inside it are not followed, so an mvdeploy that is installed there is not seen.
    site = Path(
        run(program, "-c", "import sysconfig as s; print(s.get_path('purelib'))", cwd=home).strip()
    )
    (site / "dependencies.pth").write_text("\n".join(sorted(dependency_folders())))
    return program


def dependency_folders():
    modules = ("psutil", "platformdirs", "numpy")
    found = {str(Path(importlib.import_module(name).__file__).parents[1]) for name in modules}
    return found | {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}


def test_the_sdist_is_the_repository(sdist):
    """All that is kept in it, so that tests and site can be made from it, and nothing else."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone of the repository")
    kept = {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert names - {"PKG-INFO"} == kept
    assert "pyproject.toml" in names and "tests/conftest.py" in names


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = Metadata.from_email(archive.read(metadata), validate=True)
    assert (said.name, str(said.version)) == ("mvdeploy", mvdeploy.__version__)
    assert said.description is not None and said.description.startswith("# mvdeploy")
    package = {
        str(path.relative_to(ROOT)) for path in ROOT.glob("mvdeploy/**/*.py") if path.is_file()
    }
    assert package < names and "mvdeploy/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {"mvdeploy", metadata.partition("/")[0]}
    assert not [name for name in names if "__pycache__" in name or name.endswith(("~", ".pyc"))]


def test_the_installed_program_runs(python, tmp_path):
    program = python.parent / "mvdeploy"
    assert "Commands:" in run(program, "--help", cwd=tmp_path)
    assert mvdeploy.__version__ in run(program, "--version", cwd=tmp_path)
    assert "mobilevit_s" in run(program, "models", cwd=tmp_path)
    assert "_mvdeploy_completion" in run(program, "completion", "bash", cwd=tmp_path)


def test_the_wheel_holds_the_profiles(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {f"mvdeploy/_devices/{path.name}" for path in (ROOT / "devices").glob("*.toml")}
    studies = {str(path.relative_to(ROOT)) for path in ROOT.glob("mvdeploy/studies/*.toml")}
    assert shipped <= names
    assert len(studies) >= 7 and studies <= names
    assets = {str(path.relative_to(ROOT)) for path in ROOT.glob("mvdeploy/report/assets/*")}
    assert len(assets) >= 7 and assets <= names
    assert not [name for name in names if name.startswith(("tests/", "devices/", "docs/"))]


def test_an_installed_mvdeploy_finds_its_own_profiles(python, tmp_path):
    script = (
        "import json, mvdeploy.devices as d; "
        "print(json.dumps([d.__file__, str(d.folders()[-1]), sorted(d.profiles())]))"
    )
    file, folder, names = json.loads(run(python, "-c", script, cwd=tmp_path))
    home = python.parents[1]
    assert Path(file).is_relative_to(home)
    assert Path(folder) == Path(file).parent / "_devices"
    assert set(names) >= {path.stem for path in (ROOT / "devices").glob("*.toml")}


def test_an_installed_mvdeploy_finds_its_own_runner(python, tmp_path):
    script = """
from mvdeploy import devices, links
from mvdeploy.records import Job, Warmup
with links.get(devices.get("host")) as link:
    try:
        link.run(Job((), (), 1, Warmup()), 100)
    except links.RunnerFailed as failed:
        print(failed.message)
"""
    assert "The job cannot be done: it has no models." in run(python, "-c", script, cwd=tmp_path)
