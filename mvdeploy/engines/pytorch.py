"""PyTorch in eager mode, running an exported program operator by operator."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.engines import _exported_program, output_names, with_chosen
from mvdeploy.errors import EngineError
from mvdeploy.files import writing
from mvdeploy.records import Artifact, OperatorKind, OperatorTimes, TraceEvent, codec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import fx

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "PyTorch"
FORMATS = ("pytorch",)
PACKAGES = ("torch",)
RUNNERS = ("host",)
ENVIRONMENT = ("ATEN_*", "PYTORCH_JIT*", "PYTORCH_TENSOREXPR*", "TORCH_LINEAR_*", "TORCH_MKLDNN_*")
PROFILE_COMPANIONS = ()

_PROFILE = "pytorch.json"
_GUARD = "inference_mode"  # torch's own name of what an inference runs in

_KINDS = {
    OperatorKind.MATMUL: "linear matmul mm bmm addmm einsum baddbmm scaled_dot_product_attention",
    OperatorKind.CONV: "conv1d conv2d conv3d convolution conv_transpose2d",
    OperatorKind.SOFTMAX: "softmax _softmax log_softmax",
    OperatorKind.LAYERNORM: "layer_norm native_layer_norm batch_norm group_norm rms_norm",
    OperatorKind.ACTIVATION: "silu silu_ relu relu_ gelu sigmoid hardswish hardsigmoid hardtanh"
    " relu6 tanh leaky_relu",
    OperatorKind.DATA_MOVEMENT: "reshape view permute transpose split unbind chunk getitem slice"
    " select cat stack expand contiguous clone squeeze unsqueeze flatten unflatten roll pad"
    " pixel_shuffle pixel_unshuffle to _to_copy alias unfold",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}


def version() -> str:
    """Return the version of torch."""
    return importlib.metadata.version("torch")


def start() -> None:
    """Import torch."""
    importlib.import_module("torch.export")


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with."""
    return {"num_threads": threads, "mode": f"eager, {_GUARD}"}


class TorchSession:
    """A loaded program in inference mode."""

    def __init__(self, request: SessionRequest) -> None:
        import torch

        chosen = with_chosen((), options(request.threads), request.options)
        torch.set_num_threads(int(chosen["num_threads"]))
        self._from_numpy = torch.from_numpy
        program = _exported_program.load(request.path)
        self._takes = program.call_spec.in_spec
        self.feed(request.inputs)
        count = len(program.graph_signature.user_outputs)
        self._output_names = output_names(request.path, request.outputs, count)
        module = _exported_program.graph_of(program)
        self._profile_to = request.profile_to
        self._result: Any = None
        self._profiler = _Profiler(module) if request.profile_to is not None else None
        profiler = self._profiler

        def infer() -> None:
            if profiler is None:
                self._result = module(*self._arguments, **self._named)
            else:
                self._result = profiler.run(*self._tensors)

        self.infer = getattr(torch, _GUARD)()(infer)

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors."""
        from torch.utils import _pytree

        self._tensors = [self._from_numpy(tensor.copy()) for tensor in inputs.values()]
        # A network may take them in tuples and dictionaries, or by name.
        self._arguments, self._named = _pytree.tree_unflatten(self._tensors, self._takes)

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        from torch.utils import _pytree

        tensors = _pytree.tree_leaves(self._result)  # of whatever the network returns
        return {n: t.numpy().copy() for n, t in zip(self._output_names, tensors, strict=True)}

    def end_profile(self) -> Path | None:
        """Write the operators' times and return the file."""
        if self._profile_to is None or self._profiler is None:
            return None
        path = self._profile_to / _PROFILE
        writing.text(path, json.dumps(self._profiler.times()))
        return path


class _Profiler:
    """Runs a graph node by node and takes the time of each operator."""

    def __init__(self, module: fx.GraphModule) -> None:
        from torch import fx

        times: dict[str, list[tuple[int, int]]] = {}

        class Timed(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                start = time.perf_counter_ns()
                result = super().run_node(n)
                stop = time.perf_counter_ns()
                if n.op == "call_function":
                    times.setdefault(n.name, []).append((start, stop - start))
                return result

        self._times = times
        self.run = functools.partial(Timed(module).run, enable_io_processing=False)

    def times(self) -> dict[str, list[tuple[int, int]]]:
        """Return start and length of every call of each operator, in nanoseconds."""
        return self._times


def open_session(request: SessionRequest) -> TorchSession:
    """Load a ``.pt2`` file.

    Raises:
        UsageError: the request chooses an option; there is none.
        EngineError: it names more or fewer outputs than there are.
    """
    return TorchSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run a program once and return those of its inner tensors that it has."""
    import torch
    from torch import fx

    wanted = set(names)
    tensors: dict[str, Tensor] = {}

    class Keeping(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.name in wanted and isinstance(result, torch.Tensor):
                tensors[n.name] = result.numpy().copy()
            return result

    module = _exported_program.graph_of(_exported_program.load(request.path))
    given = (torch.from_numpy(tensor.copy()) for tensor in request.inputs.values())
    with torch.inference_mode():
        Keeping(module).run(*given, enable_io_processing=False)
    return tensors


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read the operators' times; their names are those of the exported program.

    Raises:
        EngineError: the profile is incomplete or does not fit the program.
    """
    try:
        body = json.loads(path.read_text("utf-8"))
        timed = codec.decode(dict[str, tuple[tuple[int, int], ...]], body)
    except (OSError, ValueError, RecursionError, codec.RecordError) as error:
        raise _broken(f"it cannot be read ({error})") from error
    if not timed:
        raise _broken("it has no operator in it")
    operators = {op.name: op for op in artifact.operators}
    events = []
    for name, times in timed.items():
        op = operators.get(name)
        if op is None:
            raise _broken(f"it times '{name}', no operator of the program")
        if len(times) < runs:
            raise _broken(f"it has {len(times)} times of '{name}' for {runs} inferences")
        starts, samples = zip(*times[-runs:], strict=True)
        kind, modules = _kind(op.type), (op.module,)
        event = TraceEvent(
            name, op.type, kind, modules, "name", samples, starts, category=op.category
        )
        events.append(event)
    return OperatorTimes(tuple(events))


def _kind(operator: str) -> OperatorKind:
    """Map ``aten.conv2d.default`` or ``<built-in function getitem>`` to what it computes."""
    name = operator.split(".")[1] if operator.startswith("aten.") else operator
    name = name.removeprefix("<built-in function ").removesuffix(">")
    return _KIND_OF.get(name, OperatorKind.OTHER)


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The profile of PyTorch cannot be used: {what}.", "Use --no-breakdown, or report this."
    )
