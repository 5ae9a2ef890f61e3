"""OpenVINO on the CPU, running ONNX files.

Left to itself it computes in bfloat16 where the processor can. Here it is told what to compute in,
single precision unless something else is asked for, and a session in which it does not is refused:
what it says of the whole program is read back, and of all but single precision what its kernels
say too.

The engine fuses and renames nodes when it compiles a file; `mvdeploy.attribute.openvino` finds out
what they stand for.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import engines
from mvdeploy.attribute import openvino as attribution
from mvdeploy.engines import _chip, with_chosen
from mvdeploy.errors import EngineError, reason
from mvdeploy.files import writing
from mvdeploy.plugins import Option
from mvdeploy.quiet import without
from mvdeploy.records import Artifact, OperatorTimes, codec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "OpenVINO"
FORMATS = ("onnx",)
PACKAGES = ("openvino",)
RUNNERS = ("host",)
ENVIRONMENT = ("OV_*", "OPENVINO_*", "TBB_*")
PROFILE_COMPANIONS = ()

TELEMETRY = "openvino_telemetry"
"""What would send to the engine's makers how it is used. The engine goes without where it is not
installed, so it is kept from importing it."""

_PROFILE = "openvino.json"
_DEVICE = "CPU"
_SWITCH = ("on", "off")
_HINT = "inference_precision_hint"
_NAMED = 3
"""Operators that an error names."""

_LACKING = re.compile(
    r"^-- (?:No conversion rule found for operations: )?([\w.:]+(?:, [\w.:]+)*)", re.M
)
_PLACE = re.compile(r"Exception from |Check '.*' failed at |FrontEnd API failed")
_FLAGS = {"bf16": ("avx512_bf16", "amx_bf16"), "f16": ("avx512_fp16", "amx_fp16")}
"""What the engine has kernels for where the processor has one of these."""

OPTIONS = (
    Option(
        _HINT,
        "--inference-precision",
        "What OpenVINO computes floats in. [default: as the program's precision says]",
        choices=("f32", "bf16", "f16"),
    ),
    Option(
        "enable_cpu_pinning",
        "--cpu-pinning",
        "Whether OpenVINO binds each of its threads to a core. [default: off]",
        choices=_SWITCH,
    ),
    Option(
        "enable_hyper_threading",
        "--hyper-threading",
        "Whether OpenVINO uses both threads of a core that has two. [default: off]",
        choices=_SWITCH,
    ),
)

WORDS = attribution.WORDS


def version() -> str:
    """Return the version of OpenVINO.

    Raises:
        EngineError: it is not installed.
    """
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed() from error


def _not_installed() -> EngineError:
    return EngineError(
        "OpenVINO is not installed.", "Install it: pip install 'openvino >= 2026.4, < 2027'."
    )


def start() -> None:
    """Import the engine, and load what it has for this processor."""
    _core().get_versions(_DEVICE)


@functools.cache
def _core() -> Any:
    try:
        with without(TELEMETRY):
            return importlib.import_module("openvino").Core()
    except ImportError as error:
        raise _not_installed() from error


def options(threads: int) -> dict[str, str | int]:
    """Return what a program is compiled with; the names are the engine's own in small letters."""
    return {
        _HINT: "f32",
        "inference_num_threads": threads,
        "num_streams": 1,
        "performance_hint": "LATENCY",
        "enable_cpu_pinning": "off",
        "enable_hyper_threading": "off",
    }


def for_precision(precision: str) -> dict[str, str]:
    """Return what sessions for a program of a precision are opened with, beside the defaults."""
    if precision == "bf16":
        return {_HINT: "bf16"}
    if precision == "fp16" and not emulated(precision, ""):
        return {_HINT: "f16"}
    return {}


def emulated(precision: str, architecture: str) -> str:
    """Say in a clause why a precision is not computed in its own numbers; empty where it is.

    Args:
        precision: one of `mvdeploy.precisions`.
        architecture: of the processor; empty for this one.
    """
    if precision == "fp16" and not _has_kernels("f16", architecture):
        return "OpenVINO computes it in single precision on processors without AVX512-FP16"
    return ""


def prefers(format_name: str, precision: str) -> dict[str, str]:
    """Return with which options of a format programs run fastest: with the operators of ONNX.

    Layers with scales that are found in every inference have none in it.
    """
    return {} if format_name != "onnx" or precision == "int8-dynamic" else {"operators": "standard"}


def lacks(precision: str, architecture: str) -> str:
    """Say in a clause why programs of a precision cannot be run; empty where they can.

    Args:
        precision: one of `mvdeploy.precisions`.
        architecture: of the processor; empty for this one.
    """
    if not importlib.util.find_spec("openvino"):
        return "OpenVINO is not installed, as by 'pip install openvino'"
    if precision == "bf16" and not _has_kernels("bf16", architecture):
        return "OpenVINO computes in bfloat16 on processors with AVX512-BF16 or AMX alone"
    return ""


def _has_kernels(numbers: str, architecture: str) -> bool:
    """Say whether the engine has kernels for a type of numbers on this machine's processor.

    Of ARM processors, only half precision is known, from what its makers say.
    """
    if (architecture or engines.architecture()) == "aarch64":
        return numbers == "f16"
    return _chip.has(*_FLAGS[numbers])


class OpenvinoSession:
    """A compiled program with a request for inferences, whose inputs are in place."""

    def __init__(self, request: SessionRequest) -> None:
        self._path, self._profile_to = request.path, request.profile_to
        self._compiled = _compiled(request, _read(request.path), request.profile_to is not None)
        self._request = self._compiled.create_infer_request()
        known = [sorted(port.get_names()) for port in self._compiled.outputs]
        self._output_names = [
            next((name for name in request.outputs if name in names), names[0]) for names in known
        ]
        self.feed(request.inputs)
        # The engine's own function, which runs no Python; that of its Python package looks at the
        # inputs again. It is given none, and makes no copies of the outputs.
        plain = importlib.import_module("openvino._pyopenvino").InferRequest.infer
        infer = functools.partial(plain, self._request, {}, True, False)
        self._readings: list[Any] = []
        self._walls_ns: list[int] = []
        self.infer: Callable[[], object] = infer
        if self._profile_to is not None:
            self.infer = functools.partial(self._profiled, infer)

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors.

        Raises:
            EngineError: the program has no such input, or one of another shape or type.
        """
        import numpy as np

        # Kept: the request points into this memory, and takes it for contiguous.
        self._inputs = {name: np.array(tensor, order="C") for name, tensor in inputs.items()}
        tensors = importlib.import_module("openvino")
        for name, tensor in self._inputs.items():
            try:
                self._request.set_tensor(name, tensors.Tensor(tensor, shared_memory=True))
            except RuntimeError as error:
                raise EngineError(
                    f"The input '{name}' ({tensor.dtype}, {tensor.shape}) is not what "
                    f"{self._path.name} takes ({_cause(error)}).",
                    "Give inputs as the program's manifest lists them, or export it anew.",
                ) from error

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        return {
            name: self._request.get_output_tensor(i).data.copy()
            for i, name in enumerate(self._output_names)
        }

    def _profiled(self, infer: Callable[[], object]) -> None:
        start = time.perf_counter_ns()
        infer()
        self._walls_ns.append(time.perf_counter_ns() - start)
        self._readings.append(self._request.get_profiling_info())

    def end_profile(self) -> Path | None:
        """Write the nodes of the compiled program and their times, and return the file."""
        if self._profile_to is None:
            return None
        self._profile_to.mkdir(parents=True, exist_ok=True)
        path = self._profile_to / _PROFILE
        nodes = [_node(each) for each in self._compiled.get_runtime_model().get_ordered_ops()]
        averages = self._averages()
        body = {"nodes": nodes, "averages_us": averages, "walls_ns": self._walls_ns}
        writing.text(path, json.dumps(body))
        return path

    def _averages(self) -> dict[str, list[int]]:
        """Return by node what the engine said of its time after each inference, microseconds."""
        microsecond = datetime.timedelta(microseconds=1)
        averages: dict[str, list[int]] = {}
        executed: set[str] = set()
        for reading in self._readings:
            for node in reading:
                averages.setdefault(node.node_name, []).append(node.real_time // microsecond)
                # As long as it has taken less than a microsecond, a node is said not to have run.
                if node.status == node.Status.EXECUTED:
                    executed.add(node.node_name)
        return {name: taken for name, taken in averages.items() if name in executed}


def _node(each: Any) -> dict[str, Any]:
    """Return what is kept of a node of a compiled program."""
    said = {key: str(each.get_rt_info()[key].value) for key in ("layerType", "originalLayersNames")}
    return {
        "name": each.get_friendly_name(),
        "type": said["layerType"],
        "stands_for": said["originalLayersNames"],
        "reads": [
            port.get_source_output().get_node().get_friendly_name() for port in each.inputs()
        ],
    }


def open_session(request: SessionRequest) -> OpenvinoSession:
    """Compile an ONNX file, which names its outputs itself.

    Raises:
        UsageError: the request chooses an option that there is not.
        EngineError: the file cannot be compiled, or would not be computed in what was asked for; or
            the inputs are not those of the program.
    """
    return OpenvinoSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run an ONNX file once and return those of its inner tensors that it has.

    What is looked at cannot be fused away, so this is nearer to the file's own graph than what
    runs otherwise.
    """
    model = _read(request.path)
    present = {n for op in model.get_ops() for port in op.outputs() for n in port.get_names()}
    wanted = [name for name in names if name in present]
    had = {name for port in model.outputs for name in port.get_names()}
    model.add_outputs([name for name in wanted if name not in had])
    compiled = _compiled(request, model)
    session = compiled.create_infer_request()
    session.infer(dict(request.inputs))
    return {name: session.get_tensor(name).data.copy() for name in wanted}


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read what the engine said of its nodes and place them in the network's modules.

    Raises:
        EngineError: the profile is incomplete, or does not fit its program.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        profile = codec.decode(attribution.Profile, body)
    except (OSError, ValueError, RecursionError, codec.RecordError) as error:
        raise _broken(f"it cannot be read ({reason(error)})") from error
    if not profile.averages_us:
        raise _broken("it has no node in it")
    known = {node.name for node in profile.nodes}
    for name, averages in profile.averages_us.items():
        if name not in known:
            raise _broken(f"it times '{name}', no node of the program")
        if not len(averages) == len(profile.walls_ns) >= runs:
            raise _broken(f"it has {len(averages)} times of '{name}' for {runs} inferences")
    return attribution.place(artifact, profile, runs)


def _read(path: Path) -> Any:
    try:
        return _core().read_model(str(path))
    except RuntimeError as error:
        raise _not_compiled(path, error) from error


def _compiled(request: SessionRequest, model: Any, profiled: bool = False) -> Any:
    """Return a program as it is run.

    Raises:
        EngineError: see `open_session`.
    """
    chosen = with_chosen(OPTIONS, options(request.threads), request.options)
    settings = {
        name.upper(): value == "on" if value in _SWITCH else value for name, value in chosen.items()
    }
    try:
        compiled = _core().compile_model(model, _DEVICE, settings | {"PERF_COUNT": profiled})
    except RuntimeError as error:
        raise _not_compiled(request.path, error) from error
    _demand_numbers(compiled, str(chosen[_HINT]))
    return compiled


def _demand_numbers(compiled: Any, wanted: str) -> None:
    """Refuse a program that is not computed in what was asked for.

    Raises:
        EngineError: says what it is computed in.
    """
    said = compiled.get_property(_HINT.upper()).get_type_name()
    if said == wanted and wanted != "f32":
        # It says so too of what it computes otherwise for want of kernels.
        kernels = (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
        found = {
            str(kernel["runtimePrecision"].value)
            for kernel in kernels
            if kernel["layerType"].value in attribution.PRODUCTS
        }
        said = wanted if wanted in found or not found else ", ".join(sorted(found))
    if said != wanted:
        raise EngineError(
            f"OpenVINO computes in {said} here, where {wanted} was asked for.",
            "Give --inference-precision f32, or take a processor that has it.",
        )


def _not_compiled(path: Path, error: Exception) -> Exception:
    text = str(error)
    if any(word in text.lower() for word in ("bad_alloc", "failed to allocate", "out of memory")):
        return MemoryError(_cause(error))
    found = _LACKING.findall(text)
    lacking = list(dict.fromkeys(name for names in found for name in names.split(", ")))[:_NAMED]
    if lacking:
        return EngineError(
            f"OpenVINO {version()} cannot take operators of {path.name}: {', '.join(lacking)}.",
            "Run it with --engine onnxruntime, or export it with standard operators alone.",
        )
    return EngineError(
        f"OpenVINO {version()} cannot load {path.name} ({_cause(error)}).",
        "Export the model again; if it stays so, report the model and the versions.",
    )


def _cause(error: Exception) -> str:
    """Return what the engine says, without the places in its source that it names first."""
    lines = [line for line in map(str.strip, str(error).splitlines()) if line.rstrip(". ")]
    telling = [line for line in lines if not _PLACE.match(line)]
    return (telling or lines or [type(error).__name__])[0][:300].rstrip(". ")


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The profile of OpenVINO cannot be used: {what}.",
        "Use --no-breakdown, or report this with the versions of openvino and mvdeploy.",
    )
