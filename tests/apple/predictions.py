"""What the stand-ins compute and plan: shared by the native module and the app on the phone.

Outputs come from the MIL reference interpreter when ``MVDEPLOY_STAND_IN_MIL`` is set; otherwise
from a fixed function that is quick to start: `mixed` of the inputs plus the place of the number.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np

from mvdeploy.engines import SessionRequest

DESCRIPTION = "stand_in.json"
PACKAGE = "model.mlpackage"


def spec_of(package: Path):
    from coremltools.models.utils import load_spec

    return load_spec(str(package))


def describe(compiled: Path) -> None:
    """Turn a copied package into a "compiled model": with a description, the package inside."""
    spec = spec_of(compiled)
    function = spec.mlProgram.functions["main"]
    operations = [
        {"type": f"ios17.{op.type}", "output": op.outputs[0].name}
        for op in function.block_specializations[function.opset].operations
        if op.type != "const" and op.outputs
    ]
    outputs = {o.name: list(o.type.multiArrayType.shape) for o in spec.description.output}
    inputs = {i.name: list(i.type.multiArrayType.shape) for i in spec.description.input}
    package = compiled / PACKAGE
    inside = list(compiled.iterdir())
    package.mkdir()
    for part in inside:
        part.rename(package / part.name)
    body = {"operations": operations, "inputs": inputs, "outputs": outputs}
    (compiled / DESCRIPTION).write_text(json.dumps(body))


def description(compiled: Path) -> dict:
    return json.loads((compiled / DESCRIPTION).read_text())


def open_model(compiled: Path):
    """Return a function from input to output tensors."""
    described = description(compiled)
    if os.environ.get("MVDEPLOY_STAND_IN_MIL"):
        return _interpreted(compiled / PACKAGE, described)

    def predict(inputs):
        for name, shape in described["inputs"].items():
            if list(inputs[name].shape) != shape:
                raise RuntimeError(f"MultiArray shape {inputs[name].shape} is not {shape}")
        number = sum(map(mixed, inputs.values()))
        return {
            name: (np.arange(math.prod(shape)).reshape(shape) + number).astype(np.float32)
            for name, shape in described["outputs"].items()
        }

    return predict


def mixed(tensor) -> float:
    """Return a number that each element and its place matter to."""
    flat = np.ravel(tensor).astype(np.float64)
    return float(np.mean(flat * np.linspace(0, 1, flat.size)))


def _interpreted(package: Path, described: dict):
    from mvdeploy.verify import mil

    zeros = {name: np.zeros(shape, np.float32) for name, shape in described["inputs"].items()}
    session = mil.open_session(SessionRequest(package, zeros))

    def predict(inputs):
        session.feed({name: np.asarray(value, np.float32) for name, value in inputs.items()})
        session.infer()
        return {name: np.asarray(v, np.float32) for name, v in session.outputs().items()}

    return predict


ALLOWED = {
    "ALL": ("neuralEngine", "gpu", "cpu"),
    "CPU_AND_NE": ("neuralEngine", "cpu"),
    "CPU_AND_GPU": ("gpu", "cpu"),
    "CPU_ONLY": ("cpu",),
}
SLOW = ("reduce_mean", "cast")
"""Operators that the stand-in's Neural Engine does not run."""


def plan(operations: list[dict], compute_units: str) -> dict[str, dict]:
    """Return where each operator runs, by its output; costs fall from the first to the last."""
    total = sum(range(1, len(operations) + 1))
    planned = {}
    for place, operation in enumerate(operations):
        kind = operation["type"].split(".")[-1]
        units = [u for u in ALLOWED[compute_units] if u != "neuralEngine" or kind not in SLOW]
        planned[operation["output"]] = {
            "preferred": units[0],
            "supported": units,
            "weight": (len(operations) - place) / total,
        }
    return planned
