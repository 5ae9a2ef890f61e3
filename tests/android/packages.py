"""The genuine adbd, and Android's shell and programs, from packages of Debian's next release.

apt fetches them with a configuration, lists and a cache of its own: nothing is installed, and what
the machine's apt knows stays as it is. The mirror is that of the machine's own configuration.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests import shared

SUITE = "trixie"
PACKAGES = ("adbd", "mksh", "toybox")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIMIT_S = 120.0

# Hooks of the machine's configuration are about the machine's own packages.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
Dir::Etc::SourceList "{folder}/mirror.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
"""

SOURCE = """\
Types: deb
URIs: {mirror}
Suites: {suite}
Components: main
Signed-By: {keyring}
"""


class NotToBeHad(Exception):
    """The packages cannot be fetched here, and why."""


def unpacked(folder: Path) -> Path:
    """Return the folder of what the packages hold; they are fetched if they are not there yet.

    Raises:
        NotToBeHad: they cannot be fetched.
    """
    root = folder / SUITE
    folder.mkdir(parents=True, exist_ok=True)
    with shared.locked(folder / "lock"):
        if not root.is_dir():
            _fetch(folder / "apt", root)
    return root


def _fetch(work: Path, root: Path) -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise NotToBeHad(f"there is no {program}")
    part = root.with_name(f"{root.name}.part")
    for old in (work, part):
        shutil.rmtree(old, ignore_errors=True)
    for name in ("state/lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    # No package counts as installed, so that those of the C library come along.
    (work / "state/status").touch()
    source = SOURCE.format(mirror=_mirror(), suite=SUITE, keyring=KEYRING)
    (work / "mirror.sources").write_text(source)
    (work / "apt.conf").write_text(CONFIGURATION.format(folder=work))
    apt = ["apt-get", "--quiet", "--config-file", str(work / "apt.conf")]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *PACKAGES])
    for package in (work / "cache/archives").glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(part)])
    shutil.rmtree(work)
    part.rename(root)


def _mirror() -> str:
    """Return the address of the Debian mirror that the machine's apt uses.

    Raises:
        NotToBeHad: it uses none.
    """
    form = "$(REPO_URI)\t$(ORIGIN)\t$(LABEL)"
    listed = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    for line in listed.splitlines():
        mirror, origin, label = line.split("\t")
        # Before the first `apt-get update` apt knows neither, and names of mirrors are all.
        known = (origin, label) == ("Debian", "Debian")
        if known or (origin.startswith("$") and mirror.rstrip("/").endswith("/debian")):
            return mirror
    raise NotToBeHad("apt is not configured for a mirror of Debian")


def _run(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotToBeHad(f"{words[0]} did not end within {LIMIT_S:g} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()  # the first is the cause
        raise NotToBeHad(f"{words[0]}: {said[0] if said else done.returncode}")
    return done.stdout
