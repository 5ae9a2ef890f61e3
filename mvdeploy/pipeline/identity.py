"""What an export is made of: two of the same give the same file, and need be made once."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import files, formats, models, plugins
from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline import calibration
from mvdeploy.records import ModelSpec, codec
from mvdeploy.verify.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn


def of_export(
    spec: ModelSpec,
    format_name: str,
    options: formats.Options,
    photograph: Path,
    left_out: tuple[str, ...],
    wish: calibration.Wish,
    network: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]],
) -> str | None:
    """Return the sha256 over all that decides what an export becomes; None if that is not known.

    Args:
        spec: of the network.
        format_name: of the format.
        options: that it is made with.
        photograph: that it is verified on.
        left_out: passes that are not run.
        wish: what scales of whole numbers are taken from.
        network: builds it and an example of each input; asked for code of a user's own alone.
    """
    if models.is_held(spec):
        return None
    chosen = formats.complete(format_name, options)
    try:
        made_of: dict[str, Any] = {
            "spec": codec.encode(spec),
            "named": [_digest(Path(path)) for path in models.paths(spec)],
            "code": _own_code(spec, network),
            "format": format_name,
            "options": repr(chosen),
            "left_out": sorted(left_out),
            "photograph": files.sha256(photograph),
            "wish": repr(wish),
            "images": _images(wish) if formats.target(format_name, chosen) else "",
            "program": program(),
        }
    except (OSError, MvdeployError):  # whatever it is: making the export says so better
        return None
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def program() -> str:
    """Return what stands for the programs that export here, and for the processor."""
    made_of = {**_installed(), "plugins": [_plugins(Path(text)) for text in _plugin_folders()]}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


@functools.cache
def _installed() -> dict[str, Any]:
    own = Path(mvdeploy.__file__).parent
    return {
        # Of a checkout, the version says little.
        "mvdeploy": files.listing(own, own.rglob("*.py")),
        "packages": _packages(),
        "python": platform.python_version(),
        "system": [platform.system(), platform.machine(), _processor()],
    }


def _digest(path: Path) -> str:
    return files.sha256(path) if path.exists() else ""


def _images(wish: calibration.Wish) -> str:
    """Return what the images in a folder are known by; empty where none is given."""
    if isinstance(wish.images, int):
        return ""
    return files.listing(wish.images, calibration.pictures_in(wish.images))


def _plugin_folders() -> Iterator[str]:
    return filter(None, os.environ.get(plugins.FOLDER, "").split(os.pathsep))


def _plugins(folder: Path) -> str:
    return files.listing(folder, (file for file in folder.rglob("*.py") if file.is_file()))


def _packages() -> list[str]:
    """Return names and versions of all packages, as their folders of metadata are called."""
    endings = (".dist-info", ".egg-info")
    places = (place for place in map(Path, sys.path) if place.is_dir())
    names = {name for place in places for name in os.listdir(place) if name.endswith(endings)}
    return sorted(names)


def _processor() -> str:
    """Return the name of the processor: kernels differ, and with them the last digits."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line for line in file if line.startswith("model name")), "").strip()
    except OSError:
        return platform.processor()


def _own_code(
    spec: ModelSpec, network: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
) -> list[str]:
    """Return what a network of a user's own code is known by: nothing that a file says will do.

    The code may read whatever it likes. So the network is built and asked: for its weights, for
    what it computes, and from which files its modules come.
    """
    if models.code_of(spec) is None:
        return []
    import torch
    from torch.utils._pytree import tree_leaves

    with one_thread(), torch.no_grad():
        built, examples = network()
        outputs = built(*(example.clone() for example in examples))
    computed = hashlib.sha256()
    for leaf in tree_leaves(outputs):
        value = leaf.contiguous().numpy().tobytes() if isinstance(leaf, torch.Tensor) else leaf
        computed.update(repr(value).encode())
    return [models.fingerprint(built), computed.hexdigest(), repr(built), *_sources(_loaded())]


def _loaded() -> Iterator[Path]:
    """Give the files of all modules that are neither Python's, nor installed, nor mvdeploy's."""
    known = [sysconfig.get_path("stdlib"), *site.getsitepackages(), site.getusersitepackages()]
    known += [sysconfig.get_path("purelib"), str(Path(mvdeploy.__file__).parent)]
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and file.endswith(".py") and not file.startswith(tuple(known)):
            yield Path(file)


def _sources(paths: Iterable[Path]) -> list[str]:
    return sorted({files.sha256(path) for path in paths if path.is_file()})
