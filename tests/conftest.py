"""What tests of several rooms share: networks are built and exported once."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from mvdeploy import formats, models
from mvdeploy.records import Artifact, ModelSpec, Parity, codec
from mvdeploy.records.spec import parse_image_size, parse_patches
from tests import shared
from tests.warm import Server

if TYPE_CHECKING:
    from torch import nn

# Threads of torch that wait for a core which another process has turn milliseconds into seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell ignores SIGINT for what it runs in the background, and nohup SIGHUP; programs started here
# would ignore them too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A shared machine stalls now and then; that is no property of the code.
settings.register_profile("mvdeploy", deadline=None)
settings.load_profile("mvdeploy")


@pytest.fixture(scope="session", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks of devices of its own for each worker: they all measure on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_kept_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep no export, and take none of the user's: a test that is for them sets a size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVDEPLOY_CACHE", str(tmp_path_factory.mktemp("kept")))
        patch.setenv("MVDEPLOY_CACHE_SIZE", "0")
        yield


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: a third of their time is spent in waiting."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Leave out of every later collection of garbage what is there for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)  # exporters make millions of small objects


def pytest_runtest_setup() -> None:
    """Keep the operators that an exporter has read."""
    if "torch._export.utils" in sys.modules:
        importlib.import_module("tests.quick_exports")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: a worker that is done takes over what another has last."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: not slow[item.path])


@dataclasses.dataclass(frozen=True)
class Export:
    """A verified export and the network it must agree with."""

    spec: ModelSpec
    path: Path
    artifact: Artifact
    parity: Parity

    @property
    def network(self) -> nn.Module:
        return _network(self.spec)


@functools.cache
def _network(spec: ModelSpec) -> nn.Module:
    return models.build(spec)


MakeExport = Callable[..., Export]
MakeNetwork = Callable[..., "nn.Module"]


@pytest.fixture(scope="session")
def warm() -> Iterator[Server]:
    """A process that has imported what is heavy, and runs commands in forks of itself."""
    # The path of a socket must be short; those of pytest's folders are not, on a Mac.
    folder = Path("/tmp", f"warm-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}")
    folder.mkdir(mode=0o700, exist_ok=True)
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> MakeExport:
    """Return a function that exports a network, once for all workers of this run."""
    from mvdeploy.models.preprocess import sample_photograph
    from mvdeploy.pipeline.export import Builder

    folder = shared.folder(tmp_path_factory) / "exports"
    folder.mkdir(exist_ok=True)

    @functools.cache
    def builder(spec: ModelSpec) -> Builder:
        return Builder(spec, sample_photograph())

    @functools.cache
    def once(format_name: str, spec: ModelSpec, options: formats.Options) -> Export:
        classes = "" if spec.num_classes == 1000 else f"{spec.num_classes}-classes"
        own = getattr(options.own, "operators", None)
        chosen = filter(None, (classes, options.precision, options.formulation, own))
        path = folder / f"{'-'.join((spec.slug, *chosen))}{formats.suffix(format_name)}"
        parity = path.with_name(f"{path.name}.parity")
        with shared.locked(path.with_name(f"{path.name}.lock")):
            if not parity.exists():
                codec.save(builder(spec).export(format_name, path, options).parity, parity)
        return Export(spec, path, formats.read(path), codec.load(Parity, parity))

    def make(
        format_name: str = "onnx",
        *,
        model: str = "mobilevit_xxs",
        patches: str | None = None,
        size: str = "96",
        precision: str | None = None,
        formulation: str | None = None,
        task: str | None = None,
        classes: int | None = None,
        depths: str | None = None,
        operators: str | None = None,
    ) -> Export:
        # The default has a patch that is not square, and a map of layer_5 that its patches do not
        # divide (3 by 2), so that every path of the fold is in it. It is whole; of the others, more
        # layers are more of the same, and each takes a second to export.
        depths = depths or ("1,1,1" if patches else "2,4,3")
        spec = models.make_spec(
            model,
            patches=parse_patches(patches or "4x2,2,2"),
            image_size=parse_image_size(size),
            task=task,
            num_classes=classes,
            arguments=(("depths", depths),),
        )
        own = formats.options(format_name, {"operators": operators}).own if operators else None
        return once(format_name, spec, formats.Options(precision, formulation, own=own))

    return make


@pytest.fixture(scope="session")
def built() -> MakeNetwork:
    """Return a function that builds a network once; who changes it works on a copy."""

    @functools.cache
    def make(model: str = "mobilevit_xxs", classes: int = 1000) -> nn.Module:
        return models.build(models.make_spec(model, num_classes=classes))

    return make


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a model file as others make them, by name; see `tests.others`.

    Each is made once for all workers, those of one tool together.
    """
    folder = shared.folder(tmp_path_factory) / "others"
    folder.mkdir(exist_ok=True)

    @functools.cache
    def make(tool: str) -> None:
        from mvdeploy.quiet import quiet
        from tests import others as makers

        done = folder / f"{tool}.done"
        with shared.locked(folder / f"{tool}.lock"):
            if done.exists():
                return
            with quiet(errors=True):
                getattr(makers, tool)(folder)
            done.touch()

    def path(name: str) -> Path:
        of_torch = ("noted.onnx", "noted.ort", "named.onnx", "net.pt2", "int8.onnx")
        tools = {"net.pte": "by_executorch", "net.mlpackage": "by_coremltools"}
        make(tools.get(name, "by_torch" if name.endswith(of_torch) else "by_hand"))
        return folder / name

    return path
