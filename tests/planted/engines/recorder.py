"""A planted engine: runs tapes, and takes the time of each operator."""

from __future__ import annotations

import importlib.metadata
import json
import time
from pathlib import Path

from mvdeploy.plugins import Option
from mvdeploy.records import OperatorKind, OperatorTimes, TraceEvent

FORMATS = ("tape",)
PACKAGES = ("torch",)
RUNNERS = ("host",)
PROFILE_COMPANIONS = ()
OPTIONS = (
    Option("speed", "--tape-speed", "How it runs.", choices=("slow", "fast", "warped", "torn")),
)
_WRONG = {"warped": 1.01, "torn": float("nan")}


def version():
    return importlib.metadata.version("torch")


def start():
    import torch.export  # noqa: F401


def options(threads):
    return {"speed": "fast", "threads": threads}


class Session:
    def __init__(self, request):
        import torch
        from torch import fx

        torch.set_num_threads(request.threads)
        with request.path.open("rb") as file:
            module = torch.export.load(file).module()
        self._request, self.times, times = request, {}, {}
        self.times = times

        class Timed(fx.Interpreter):
            def run_node(self, n):
                start = time.perf_counter_ns()
                result = super().run_node(n)
                if n.op == "call_function":
                    times.setdefault(n.name, []).append(time.perf_counter_ns() - start)
                return result

        run = Timed(module).run if request.profile_to else module
        self.feed(request.inputs)

        def infer():
            with torch.inference_mode():
                self.result = run(*self.arguments)

        self.infer = infer

    def feed(self, inputs):
        import torch

        self.arguments = [torch.from_numpy(tensor.copy()) for tensor in inputs.values()]

    def outputs(self):
        made = self.result if isinstance(self.result, tuple | list) else (self.result,)
        names = self._request.outputs or [f"output_{i}" for i in range(len(made))]
        factor = _WRONG.get(self._request.options.get("speed"), 1.0)
        return {name: tensor.numpy() * factor for name, tensor in zip(names, made, strict=True)}

    def end_profile(self):
        if self._request.profile_to is None:
            return None
        path = Path(self._request.profile_to) / "tape.json"
        path.write_text(json.dumps(self.times))
        return path


def open_session(request):
    return Session(request)


def read_tensors(request, names):
    return {}


def read_profile(artifact, path, runs):
    times = json.loads(path.read_text())
    modules = {op.name: op for op in artifact.operators}
    return OperatorTimes(
        tuple(
            TraceEvent(
                name,
                modules[name].type,
                OperatorKind.OTHER,
                (modules[name].module,),
                "name",
                tuple(taken[-runs:]),
            )
            for name, taken in times.items()
        )
    )
