"""Core ML, on this Mac or on an attached phone, through coremltools.

Times are Core ML's own: of the load, and of each prediction, taken on the device that runs it and
without the conversion of Python's arrays. Nothing times single operators: `read_profile` spreads
each inference's time over the operators by the compute plan's cost estimates, which is why
`TIME_KIND` says estimated.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import importlib.metadata
import itertools
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.engines import with_chosen
from mvdeploy.engines.coreml import compute_plan
from mvdeploy.errors import EngineError, reason
from mvdeploy.plugins import Option
from mvdeploy.records import Artifact, OperatorTimes, TimeKind

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "Core ML"
FORMATS = ("coreml",)
PACKAGES = ("coremltools",)
RUNNERS = ("apple",)
PROFILE_COMPANIONS = ()

TIME_KIND = TimeKind.ESTIMATED
"""What operator times from `read_profile` are: Core ML measures whole inferences only."""

COMPUTE_UNITS = ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
"""What a model may be run on; the names are coremltools' own in small letters."""

OPTIONS = (
    Option(
        "compute_units",
        "--compute-units",
        "What Core ML may use. [default: all]",
        choices=COMPUTE_UNITS,
    ),
)

WORDS = {
    "compute_plan": (
        "With compute units '{compute_units}' Core ML prefers the Neural Engine for "
        "{ane_operators} operators ({ane_percent} % of the cost), the GPU for {gpu_operators} "
        "({gpu_percent} %) and the CPU for {cpu_operators} ({cpu_percent} %); {none_operators} "
        "have no preference.",
        "'mvdeploy export' names what keeps operators off the Neural Engine.",
    ),
    "operators_without_cost": (
        "Core ML gives no cost for {count} of {of} operators; they are shown without time.",
        "Take the time of their modules as a lower bound.",
    ),
}
"""What findings of its profiles say, and what to do about them."""

LOAD_ATTEMPTS = 6
"""Loads on a phone before giving up. coremltools waits ten seconds for each; the first load of a
model for the Neural Engine can take longer, and goes on meanwhile."""

LEAST_IOS, LEAST_IOS_FOR_PLAN = (17,), (17, 4)
"""What coremltools' app on a phone needs, and what it needs to tell of a compute plan."""

_EXPERIMENTAL = "coremltools.models.ml_program.experimental"

_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "DOUBLE": "float64",
    "INT32": "int32",
    "INT8": "int8",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a model is loaded.

    Attributes:
        loop: runs coremltools' coroutines.
        device: coremltools' prepared device; None for this machine.
        there: whether the device and its app still answer.
    """

    loop: asyncio.AbstractEventLoop
    device: Any = None
    there: Callable[[], bool] = lambda: True

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end and return its result."""
        return self.loop.run_until_complete(work)


def version() -> str:
    """Return the version of coremltools; Core ML itself is a part of the system."""
    return importlib.metadata.version("coremltools")


def start() -> None:
    """Import coremltools.

    Raises:
        EngineError: this machine has no Core ML.
    """
    importlib.import_module(f"{_EXPERIMENTAL}.async_wrapper")
    native()


def native() -> Any:
    """Return the module through which coremltools reaches Core ML.

    Raises:
        EngineError: there is none.
    """
    try:
        return importlib.import_module("coremltools.libcoremlpython")
    except ImportError as error:
        raise EngineError(
            "coremltools has no native module here, so it cannot run Core ML.",
            "Use a Mac, with coremltools installed from PyPI for its version of Python.",
        ) from error


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with when no option is given; threads are Core ML's own."""
    return {"compute_units": COMPUTE_UNITS[0]}


class CoreMLSession:
    """A loaded package.

    Attributes:
        load_ns: Core ML's time for loading; when loads had to be repeated, all the time until one
            of them was done.
        durations_ns: Core ML's time of every prediction so far.
    """

    def __init__(self, request: SessionRequest, place: Place | None = None) -> None:
        chosen = with_chosen(OPTIONS, options(request.threads), request.options)
        self._units, self._profile_to = str(chosen["compute_units"]), request.profile_to
        self._owns_loop = place is None
        self._place = place or Place(asyncio.new_event_loop())
        self._result: dict[str, Any] = {}
        self.durations_ns: list[int] = []
        units = _units(self._units)
        self._dtypes = _input_dtypes(request.path)
        self.feed(request.inputs)
        self._model, self.load_ns = self._place.wait(_load(request.path, units, self._place))

    def infer(self) -> None:
        """Run one inference; its time is added to `durations_ns`."""
        self._result = self._place.wait(self._model.predict(dict(self._inputs)))
        duration = self._model.last_predict_duration_in_nano_seconds
        if duration is None:
            raise EngineError(
                "Core ML did not tell how long a prediction took.", "Update the system of the Mac."
            )
        self.durations_ns.append(int(duration))

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors.

        Raises:
            EngineError: they are not the ones that the package takes.
        """
        import numpy as np

        if set(inputs) != set(self._dtypes):
            raise EngineError(
                f"The package takes the inputs {_listed(self._dtypes)}, not {_listed(inputs)}.",
                "Give each of them a tensor.",
            )
        # coremltools sends the bytes of a tensor in C order with the strides that it has.
        self._inputs = {
            name: np.ascontiguousarray(tensor, dtype=self._dtypes[name])
            for name, tensor in inputs.items()
        }

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        import numpy as np

        return {name: np.array(value) for name, value in self._result.items()}

    def end_profile(self) -> Path | None:
        """Write the compute plan with the times so far; None when the session is not profiled."""
        if self._profile_to is None:
            return None
        plan = self._place.wait(self._model.retrieve_compute_plan())
        read = compute_plan.read(plan, self._units, self.durations_ns)
        return compute_plan.save(read, self._profile_to)

    def close(self) -> None:
        """Unload the model, which coremltools does not do by itself."""
        try:
            self._place.wait(self._model.unload())
        finally:
            if self._owns_loop:
                self._place.loop.close()


def open_session(request: SessionRequest) -> CoreMLSession:
    """Load an ``.mlpackage`` with tensor inputs on this machine. Core ML chooses the threads.

    Raises:
        UsageError: there is no such option, or there are no such compute units.
        EngineError: there is no Core ML here, or it cannot load the package.
    """
    native()
    return CoreMLSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run a package once and return those of the tensors that are outputs: Core ML shows no others.

    Raises:
        EngineError: there is no Core ML here, or it cannot load the package.
    """
    session = open_session(request)
    try:
        session.infer()
        return {name: value for name, value in session.outputs().items() if name in set(names)}
    finally:
        session.close()


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Estimate operator times from a compute plan; see `compute_plan.operator_times`.

    Raises:
        EngineError: the plan cannot be read or does not hold so many inferences.
    """
    return compute_plan.operator_times(artifact, compute_plan.load(path), runs)


def _units(name: str) -> Any:
    import coremltools

    return coremltools.ComputeUnit[name.upper()]


def _input_dtypes(path: Path) -> dict[str, str]:
    """Return the element type of each input of a package."""
    import coremltools

    try:
        spec = coremltools.utils.load_spec(str(path))
    except Exception as error:  # coremltools raises bare exceptions of many kinds
        raise EngineError(
            f"{path.name} is no Core ML package ({reason(error, named=True)}).",
            "Export the model again.",
        ) from error
    dtypes = {}
    for described in spec.description.input:
        if described.type.WhichOneof("Type") != "multiArrayType":
            raise EngineError(
                f"The input '{described.name}' of {path.name} is no tensor, and only tensors can "
                "be sent to a phone.",
                "Measure the package with tensor inputs that was exported beside it.",
            )
        kind = described.type.multiArrayType
        dtypes[described.name] = _DTYPES[kind.ArrayDataType.Name(kind.dataType)]
    return dtypes


async def _load(path: Path, units: Any, place: Place) -> tuple[Any, int]:
    """Load a package; return coremltools' model and the nanoseconds that it took."""
    began = time.perf_counter_ns()
    attempts = LOAD_ATTEMPTS if place.device is not None else 1
    for attempt in range(attempts):
        model = importlib.import_module(f"{_EXPERIMENTAL}.async_wrapper").MLModelAsyncWrapper
        wrapper = model.from_spec_or_path(
            spec_or_path=str(path), weights_dir="", compute_units=units, device=place.device
        )
        try:
            await _load_once(wrapper, path)
        except Exception as error:
            if not (is_silence(error) and place.there()):
                raise
            continue
        own = wrapper.load_duration_in_nano_seconds
        return wrapper, int(own) if own and not attempt else time.perf_counter_ns() - began
    seconds = (time.perf_counter_ns() - began) / 1e9
    raise EngineError(
        f"The phone has not loaded {path.name} in {seconds:.0f} s and {attempts} attempts.",
        "Unlock the phone, keep it cool and awake, and run again: a load that was done once is "
        "quicker; or load for fewer units with --compute-units cpu_only.",
    )


async def _load_once(model: Any, path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            await model.load()
        except ValueError as error:
            # coremltools gives the reason as a warning only.
            reasons = [str(w.message) for w in caught if w.category is RuntimeWarning]
            reason = (reasons or ["the package may need a newer system"])[-1].rstrip(". ")
            if str(error) != "Failed to load model":
                raise
            raise EngineError(
                f"Core ML could not load {path.name} ({reason.split('message was: ')[-1][:300]}).",
                "Export it for this system with --deployment-target.",
            ) from error


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``17.5.1``; it ends where they end."""
    parts = itertools.takewhile(str.isdecimal, version.split("."))
    return tuple(map(int, parts))


def is_silence(error: Exception) -> bool:
    """Say whether coremltools gave up waiting, rather than the phone answering with an error.

    What devicectl writes comes as bytes, what the phone answers as text.
    """
    return isinstance(getattr(error, "message", None), bytes)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
