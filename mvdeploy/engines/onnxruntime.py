"""ONNX Runtime on the CPU, optimising all that it can, which is its default.

The engine rewrites the graph when it loads it: nodes are fused, renamed and re-laid-out, so the
names in its profile are not those of the exported file. `mvdeploy.attribute.onnx` finds out
what they stand for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.attribute.onnx import Placement
from mvdeploy.engines import AndroidBuild, NativePlugin, NpmFile, _aar, _chip, with_chosen
from mvdeploy.errors import EngineError
from mvdeploy.files import elf
from mvdeploy.plugins import Option
from mvdeploy.records import Artifact, OperatorKind, OperatorTimes, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import onnx

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "ONNX Runtime"
FORMATS = ("onnx",)
PACKAGES = ("onnxruntime",)
RUNNERS = ("host", "native")
ENVIRONMENT = ("ORT_*", "MLAS_*")

OPTIONS = (
    Option(
        "spinning",
        "--spinning",
        "onnxruntime: whether threads that wait for one another keep their cores busy. "
        "[default: on]",
        choices=("on", "off"),
    ),
    Option(
        "placement",
        "--placement",
        "onnxruntime: whether each thread beside the first stays on a core of its own. "
        "[default: free]",
        choices=("free", "pinned"),
    ),
)

GRAPH = "optimised.onnx"
WEIGHTS = "optimised.data"

PROFILE_COMPANIONS = (GRAPH,)

_KINDS = {
    OperatorKind.MATMUL: "MatMul Gemm FusedMatMul FusedGemm Attention MultiHeadAttention Einsum"
    " MatMulInteger MatMulIntegerToFloat QLinearMatMul QGemm DynamicQuantizeMatMul QAttention"
    " MatMulNBits GroupQueryAttention",
    OperatorKind.CONV: "Conv FusedConv ConvTranspose ConvInteger QLinearConv QLinearConvTranspose"
    " NhwcFusedConv NhwcConv DeformConv",
    OperatorKind.SOFTMAX: "Softmax LogSoftmax QLinearSoftmax",
    OperatorKind.LAYERNORM: "LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization"
    " SkipSimplifiedLayerNormalization BatchNormalization InstanceNormalization GroupNorm",
    OperatorKind.ACTIVATION: "QuickGelu Gelu FastGelu BiasGelu Sigmoid Relu HardSwish HardSigmoid"
    " Clip Tanh Erf Swish Silu LeakyRelu Elu PRelu Selu Softplus Mish QLinearSigmoid"
    " QLinearLeakyRelu",
    OperatorKind.DATA_MOVEMENT: "Transpose Reshape Squeeze Unsqueeze Slice Split Concat Gather"
    " GatherND Expand Flatten Pad Tile Identity Cast ReorderInput ReorderOutput Shape DepthToSpace"
    " SpaceToDepth ScatterND QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConcat",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}


_AROUND = ("If", "Loop", "Scan", "SequenceMap")
"""Types of nodes that run others inside them."""

_ARCHIVE = _aar.Archive("ONNX Runtime", "libonnxruntime.so", "onnxruntime-android-VERSION.aar")


def _take_aar(path: Path, architecture: str, into: Path) -> str:
    """Unpack the library of ONNX Runtime for Android into a kit; return the version.

    Raises:
        UsageError: the file is no such archive, or its version cannot be told.
    """
    with _ARCHIVE.unpacked(path, architecture, into) as library:
        defined = elf.read(library).versions
    # Its functions are all of one version, which is the library's own.
    own = next((name for name in defined if name.startswith("VERS_")), path.name)
    return _ARCHIVE.version(path, own)


NATIVE = NativePlugin(
    package="onnxruntime",
    libraries=("onnxruntime/capi/libonnxruntime.so*",),
    android=(
        AndroidBuild(
            Option(
                "onnxruntime_aar",
                "--onnxruntime-aar",
                "setup: ONNX Runtime for Android, for a kit of the android build.",
                metavar="FILE",
            ),
            _take_aar,
        ),
        AndroidBuild(
            Option(
                "onnxruntime_npm",
                "--onnxruntime-npm",
                "setup: the same, from the npm package com.github.asus4.onnxruntime: its file "
                "(.tgz), or a version, which is downloaded by npm.",
                metavar="FILE_OR_VERSION",
            ),
            _take_aar,
            npm=NpmFile("com.github.asus4.onnxruntime", "Plugins/Android/onnxruntime.aar"),
        ),
    ),
    sources=("engines/onnxruntime.c", "dtypes.c"),
)


def version() -> str:
    """Return the version of ONNX Runtime."""
    return importlib.metadata.version("onnxruntime")


def start() -> None:
    """Import ONNX Runtime."""
    _library()


def _library() -> Any:
    """Import ONNX Runtime without its telemetry.

    Since version 1.32 it keeps files about its use in the user's cache and in the temporary folder
    and sends them to its makers, unless this is set when it is imported. What a user says of it
    stands; runners inherit it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def prefers(format_name: str, precision: str) -> dict[str, str]:
    """Return with which options programs run fastest: with operators of its own."""
    return {"operators": "onnxruntime"} if format_name == "onnx" else {}


def lacks(precision: str, architecture: str) -> str:
    """Return why programs of a precision cannot run on an architecture; empty if they can."""
    return "ONNX Runtime has no kernels for bf16 on CPUs" if precision == "bf16" else ""


def emulated(precision: str, architecture: str) -> str:
    """Return in what a precision is computed that an architecture has no kernels for, or nothing.

    On arm64 there are kernels for half precision. Elsewhere its operators run in single precision,
    with a Cast before and behind each piece of the graph.
    """
    if precision == "fp16" and architecture not in ("aarch64", "arm64"):
        return "ONNX Runtime computes fp16 as fp32 between casts here"
    return ""


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with; all but the threads are the engine's defaults.

    Without spinning, threads are faster where cores are not free: ``benchmarks/onnx_fast.py``.
    """
    return {
        "provider": "CPUExecutionProvider",
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "graph_optimization_level": "ORT_ENABLE_ALL",
        "execution_mode": "ORT_SEQUENTIAL",
        "spinning": "on",
        "placement": "free",
    }


def _session_options(chosen: Mapping[str, str | int], profile_to: Path | None) -> Any:
    ort = _library()
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = chosen["intra_op_num_threads"]
    session_options.inter_op_num_threads = chosen["inter_op_num_threads"]
    level, mode = chosen["graph_optimization_level"], chosen["execution_mode"]
    session_options.graph_optimization_level = ort.GraphOptimizationLevel.__members__[level]
    session_options.execution_mode = ort.ExecutionMode.__members__[mode]
    spinning = "1" if chosen["spinning"] == "on" else "0"
    session_options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    if chosen["placement"] == "pinned" and (places := _places(int(chosen["intra_op_num_threads"]))):
        session_options.add_session_config_entry("session.intra_op_thread_affinities", places)
    # Errors are raised as well; warnings are about its own graph file.
    session_options.log_severity_level = 4
    if profile_to is not None:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(profile_to / "ort")
        session_options.optimized_model_filepath = str(profile_to / GRAPH)
        session_options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", WEIGHTS
        )
    return session_options


def _places(threads: int) -> str:
    """Return a core for each thread but the first, as the engine counts them: from one on."""
    own = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    cores = sorted(own(0))
    return ";".join(str(cores[number % len(cores)] + 1) for number in range(1, threads))


def _load(model: str | bytes, make_options: Callable[[], Any], provider: str) -> Any:
    """Return a session that computes what the file says in whole numbers and in floats.

    On x86 without VNNI, kernels for unsigned times signed numbers add two products in 16 bits,
    which overflow, unless weights are made unsigned; where there is VNNI, that only makes it slower
    (by a quarter and more). And float weights between dequantised inputs and quantised results are
    made whole numbers, also those that are to stay in float (1.32).
    """
    if not _chip.has("avx512_vnni", "avx_vnni"):
        with contextlib.suppress(Exception):
            return _session(model, make_options(), provider, unsigned_weights="1")
    # Some files load only so (1.32): those with a weight that several nodes share, as
    # quantize_static writes them, and those with QGemm.
    return _session(model, make_options(), provider, unsigned_weights="0")


def _session(
    model: str | bytes, session_options: Any, provider: str, *, unsigned_weights: str
) -> Any:
    entries = {
        "optimization.disable_specified_optimizers": "WeightBiasQuantization",
        "session.x64quantprecision": unsigned_weights,
    }
    for key, value in entries.items():
        session_options.add_session_config_entry(key, value)
    return _library().InferenceSession(model, session_options, providers=[provider])


class OrtSession:
    """One ONNX Runtime session with its input and output buffers bound."""

    def __init__(self, request: SessionRequest) -> None:
        chosen = with_chosen(OPTIONS, options(request.threads), request.options)
        self._profile_to = profile_to = request.profile_to
        if profile_to is not None:
            profile_to.mkdir(parents=True, exist_ok=True)
        try:
            self._session = _load(
                str(request.path),
                lambda: _session_options(chosen, profile_to),
                str(chosen["provider"]),
            )
        except MemoryError:
            raise
        except Exception as error:
            raise _not_loaded(request.path, str(error)) from error
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._binding = self._session.io_binding()
        self.feed(request.inputs)
        # The bound method of the engine itself, so that the timed loop runs no Python of ours.
        raw, binding, run_options = self._session._sess, self._binding._iobinding, None
        self.infer = lambda: raw.run_with_iobinding(binding, run_options)

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors."""
        import numpy as np

        # Kept: a binding points into this memory, and takes it for contiguous.
        self._inputs = {name: np.asarray(tensor, order="C") for name, tensor in inputs.items()}
        for name, tensor in self._inputs.items():
            self._binding.bind_cpu_input(name, tensor)
        # The engine keeps an output's buffer; another batch size needs another one.
        self._binding.clear_binding_outputs()
        for name in self._output_names:
            self._binding.bind_output(name, "cpu")

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        values = self._binding.copy_outputs_to_cpu()
        return dict(zip(self._output_names, values, strict=True))

    def end_profile(self) -> Path | None:
        """Finish the profile and return its file."""
        if self._profile_to is None:
            return None
        return Path(self._session.end_profiling())


def _not_loaded(path: Path, text: str) -> Exception:
    """Word why the engine does not load a file: without its codes and the lines of its source."""
    plain = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(text.split()))
    plain = plain.removeprefix(f"Load model from {path} failed:")
    if re.search(r"\.(cc|h):\d+ ", plain):
        plain = plain.rpartition(") ")[2] or plain
    if any(word in text.lower() for word in ("bad_alloc", "failed to allocate", "out of memory")):
        return MemoryError(plain)
    return EngineError(
        f"ONNX Runtime {version()} cannot load {path.name} ({plain[:300].rstrip('. ')}).",
        "Export the model for this version of onnxruntime, or install the one that it is for.",
    )


def open_session(request: SessionRequest) -> OrtSession:
    """Load an ONNX file, which names its outputs itself.

    Raises:
        UsageError: there is no such option, or it has no such value.
    """
    return OrtSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run an ONNX file once and return those of its inner tensors that it has.

    What is looked at cannot be fused away, so this is the file's own graph, not the one that the
    engine makes of it.
    """
    import onnx

    ort = _library()
    model = onnx.load(str(request.path))
    computed = {out for node in model.graph.node for out in node.output}
    outputs = {output.name for output in model.graph.output}
    present = [name for name in names if name in computed]
    if not present:
        return {}  # of no names, the engine returns all outputs
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in present if name not in outputs
    )

    def quiet() -> Any:
        session_options = ort.SessionOptions()
        session_options.log_severity_level = 3
        return session_options

    session = _load(model.SerializeToString(), quiet, "CPUExecutionProvider")
    return dict(zip(present, session.run(present, dict(request.inputs)), strict=True))


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read the engine's profile and place its nodes in the network's modules.

    Raises:
        EngineError: the profile is incomplete or does not fit its graph.
    """
    import onnx

    timed = _timed(path)
    try:
        graph = onnx.load(str(path.with_name(GRAPH)), load_external_data=False).graph
    except Exception as error:  # a missing file, or whatever protobuf says of a broken one
        raise _broken(f"its graph cannot be read ({error})") from error
    _name(graph, timed)
    nodes = [n for n in graph.node if n.name in timed]
    if len(nodes) != len(timed):
        extra = sorted(set(timed) - {n.name for n in nodes})
        raise _broken(f"it times '{(extra or ['the same name twice'])[0]}', no node of the graph")
    placement = Placement(artifact.operators, graph.node)
    events = []
    for node in graph.node:
        place = placement.place(node)
        if node.name not in timed:
            continue
        times = timed[node.name]
        if len(times) < runs:
            raise _broken(f"it has {len(times)} times of '{node.name}' for {runs} inferences")
        starts, samples, threads = zip(*times[-runs:], strict=True)
        kind = _KIND_OF.get(node.op_type, OperatorKind.OTHER)
        events.append(
            TraceEvent(
                name=node.name,
                type=node.op_type,
                kind=kind,
                modules=place.modules,
                placed_by=place.placed_by,
                samples_ns=samples,
                starts_ns=starts,
                track=threads[-1],
                category=place.category,
            )
        )
    return OperatorTimes(tuple(placement.fill(events)))


def _name(graph: onnx.GraphProto, timed: Mapping[str, Sequence[tuple[int, int, str]]]) -> None:
    """Give nodes without a name the one that the profile has for them.

    The engine makes it of the type and a number. Those of one type run in the order in which the
    graph lists them; of several types that need not be so.
    """
    own = {node.name for node in graph.node if node.name}
    made: dict[str, list[str]] = defaultdict(list)
    for name in sorted(timed.keys() - own, key=lambda name: timed[name][0][0]):
        made[name.rpartition("_")[0]].append(name)
    for node in graph.node:
        if not node.name and made[node.op_type]:
            node.name = made[node.op_type].pop(0)


def _timed(path: Path) -> dict[str, list[tuple[int, int, str]]]:
    """Return node name → start, length (ns) and thread in every inference, in their order.

    What ran inside a branch or a loop is left out: its time is in that of the node around it.
    """
    suffix = "_kernel_time"
    ran: list[tuple[str, tuple[int, int, str]]] = []
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if entry.get("cat") == "Node" and entry["name"].endswith(suffix):
                start, length = int(entry["ts"]) * 1000, int(entry["dur"]) * 1000
                # Nodes are listed as they end: those inside of one before it.
                while _type(entry) in _AROUND and ran and ran[-1][1][0] >= start:
                    ran.pop()
                name = entry["name"].removesuffix(suffix)
                ran.append((name, (start, length, str(entry["tid"]))))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(f"it cannot be read ({error})") from error
    if not ran:
        raise _broken("it has no node in it")
    times: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for name, time in ran:
        times[name].append(time)
    return times


def _type(entry: Mapping[str, Any]) -> str:
    return str(entry.get("args", {}).get("op_name", ""))


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The profile of ONNX Runtime cannot be used: {what}.",
        "Use --no-breakdown, or report this with the versions of onnxruntime and mvdeploy.",
    )
