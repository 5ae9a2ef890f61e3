"""What Core ML plans to run where: the compute plan of a model, kept and read.

Core ML tells, for every operator, the compute units that can run it, the one it prefers, and the
share of the model's cost that it estimates. It measures no operator: times derived from a plan are
estimates.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvdeploy.errors import EngineError
from mvdeploy.files import writing
from mvdeploy.records import (
    Artifact,
    Finding,
    Level,
    Operator,
    OperatorKind,
    OperatorTimes,
    TraceEvent,
)
from mvdeploy.records.codec import RecordError, dumps, loads

FILE = "coreml-plan.json"


class Unit(enum.StrEnum):
    """What can run an operator."""

    ANE = "ane"
    GPU = "gpu"
    CPU = "cpu"
    NONE = "none"
    """Core ML does not say."""


_UNIT_OF = {
    "MLNeuralEngineComputeDevice": Unit.ANE,
    "MLGPUComputeDevice": Unit.GPU,
    "MLCPUComputeDevice": Unit.CPU,
}

_KINDS = {
    OperatorKind.MATMUL: "linear matmul einsum scaled_dot_product_attention",
    OperatorKind.CONV: "conv conv_transpose",
    OperatorKind.SOFTMAX: "softmax",
    OperatorKind.LAYERNORM: "layer_norm instance_norm batch_norm l2_norm local_response_norm",
    OperatorKind.ACTIVATION: "silu relu gelu sigmoid sigmoid_hard relu6 leaky_relu elu tanh prelu"
    " clip erf softplus softsign clamped_relu linear_activation",
    OperatorKind.DATA_MOVEMENT: "reshape transpose squeeze expand_dims split concat slice_by_index"
    " slice_by_size gather gather_along_axis gather_nd stack tile pad identity cast pixel_shuffle"
    " pixel_unshuffle space_to_depth depth_to_space reverse scatter reshape_like",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}

_OPSET = re.compile(r"^ios\d+\.")


@dataclasses.dataclass(frozen=True)
class PlannedOperator:
    """An operator as Core ML plans to run it.

    Attributes:
        output: name of its first output in the program.
        type: Core ML's name for it, such as ``ios17.conv``.
        preferred: where it is going to run.
        supported: where it could run.
        weight: estimated share of the model's cost, 0 to 1; None where Core ML does not say.
    """

    output: str
    type: str
    preferred: Unit
    supported: tuple[Unit, ...]
    weight: float | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The compute plan of a model and the times of its inferences.

    Attributes:
        compute_units: that the model was allowed.
        operators: in order; constants are left out.
        samples_ns: of whole inferences, measured, in order.
    """

    compute_units: str
    operators: tuple[PlannedOperator, ...]
    samples_ns: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Placement:
    """How much of a model one compute unit runs.

    Attributes:
        unit: which.
        operators: number of operators that prefer it.
        cost: their share of the estimated cost, 0 to 1.
    """

    unit: Unit
    operators: int
    cost: float


def read(plan: Any, compute_units: str, samples_ns: Sequence[int]) -> Plan:
    """Read coremltools' ``MLComputePlan``.

    Args:
        plan: of a loaded model, on this machine or on a phone.
        compute_units: that the model was allowed.
        samples_ns: times of whole inferences.

    Raises:
        EngineError: it is no plan of an ML program.
    """
    program = plan.model_structure.program
    if program is None or "main" not in program.functions:
        raise EngineError(
            "Core ML gives no compute plan: the package holds no ML program.",
            "Export the model with --format coreml.",
        )
    operations = program.functions["main"].block.operations
    planned = (_planned(plan, op) for op in operations if _is_computed(op))
    return Plan(compute_units, tuple(planned), tuple(samples_ns))


def _is_computed(operation: Any) -> bool:
    name = _OPSET.sub("", operation.operator_name)
    return bool(operation.outputs) and name != "const" and not name.startswith("constexpr_")


def _planned(plan: Any, operation: Any) -> PlannedOperator:
    usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
    cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
    return PlannedOperator(
        output=operation.outputs[0].name,
        type=operation.operator_name,
        preferred=_unit(usage.preferred_compute_device) if usage is not None else Unit.NONE,
        supported=tuple(map(_unit, usage.supported_compute_devices)) if usage is not None else (),
        weight=float(cost.weight) if cost is not None else None,
    )


def _unit(device: Any) -> Unit:
    return _UNIT_OF.get(type(device).__name__, Unit.NONE)


def save(plan: Plan, folder: Path) -> Path:
    """Write a plan and return its file."""
    path = folder / FILE
    writing.text(path, dumps(plan))
    return path


def load(path: Path) -> Plan:
    """Read what `save` wrote.

    Raises:
        EngineError: it cannot be read, or its figures cannot be.
    """
    try:
        plan = loads(Plan, path.read_text("utf-8"), "The compute plan")
    except (OSError, ValueError, RecordError) as error:
        raise _broken(f"it cannot be read ({error})") from error
    weights = [op.weight for op in plan.operators if op.weight is not None]
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise _broken("it has a cost that is no share")
    if sum(weights) <= 0:
        raise _broken("Core ML estimated no operator's cost")
    return plan


def placement(plan: Plan) -> tuple[Placement, ...]:
    """Return what each unit runs, the Neural Engine first; units that run nothing are left out."""
    total = math.fsum(op.weight or 0.0 for op in plan.operators) or 1.0
    placements = []
    for unit in Unit:
        mine = [op for op in plan.operators if op.preferred is unit]
        if mine:
            cost = math.fsum(op.weight or 0.0 for op in mine) / total
            placements.append(Placement(unit, len(mine), cost))
    return tuple(placements)


def operator_times(artifact: Artifact, plan: Plan, runs: int) -> OperatorTimes:
    """Estimate operator times: each inference's time × the operator's share of the cost.

    Args:
        artifact: its operators' outputs are what the plan names operators by.
        plan: of that artifact.
        runs: how many inferences to take, from the last one back.

    Raises:
        EngineError: the plan has fewer inferences.
    """
    if runs < 1 or len(plan.samples_ns) < runs:
        raise _broken(f"it has {len(plan.samples_ns)} inferences, not {runs}")
    samples = plan.samples_ns[-runs:]
    # The shares of some models add up to a little more than the whole.
    total = max(1.0, math.fsum(op.weight or 0.0 for op in plan.operators))
    exported = {name: op for op in artifact.operators for name in op.outputs}
    events = []
    for op in plan.operators:
        share = (op.weight or 0.0) / total
        times = tuple(round(ns * share) for ns in samples)
        events.append(_event(op, exported, times))
    return OperatorTimes(tuple(events), tuple(_findings(plan)))


def _event(
    op: PlannedOperator, exported: Mapping[str, Operator], times: tuple[int, ...]
) -> TraceEvent:
    kind = _KIND_OF.get(_OPSET.sub("", op.type), OperatorKind.OTHER)
    operator = exported.get(op.output)
    modules = (operator.module,) if operator is not None else ()
    return TraceEvent(
        name=op.output,
        type=op.type,
        kind=kind,
        modules=modules,
        placed_by="output" if operator else "",
        samples_ns=times,
        category=operator.category if operator else None,
    )


def _findings(plan: Plan) -> Iterator[Finding]:
    yield Finding("operator_times_estimated", Level.NOTE, {"engine": "Core ML"})
    values: dict[str, str | int | float] = {"compute_units": plan.compute_units}
    parts = {part.unit: part for part in placement(plan)}
    for unit in Unit:
        part = parts.get(unit, Placement(unit, 0, 0.0))
        values[f"{unit}_operators"] = part.operators
        values[f"{unit}_percent"] = 100 * part.cost
    yield Finding("compute_plan", Level.NOTE, values)
    unknown = sum(op.weight is None for op in plan.operators)
    if unknown:
        values = {"count": unknown, "of": len(plan.operators)}
        yield Finding("operators_without_cost", Level.NOTE, values)


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The compute plan of Core ML cannot be used: {what}.",
        "Use --no-breakdown, or report this.",
    )
