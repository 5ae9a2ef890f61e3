"""Stands in for ``coremltools.libcoremlpython``, through which coremltools reaches Core ML.

It "compiles" a package by copying it, and predicts with `tests.apple.predictions`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from tests.apple import predictions

STAND_IN = True


class _MLModelAssetProxy: ...


class _MLComputePlanProxy: ...


class _MLCPUComputeDeviceProxy: ...


class _MLGPUComputeDeviceProxy: ...


class _MLNeuralEngineComputeDeviceProxy:
    def get_total_core_count(self):
        return 16


class _MLModelProxy:
    def __init__(self, path, compute_units, function_name, hints, asset):
        if predictions.spec_of(Path(path)).description.metadata.author == "refuse":
            raise RuntimeError("Error compiling model: the stand-in refuses it.")
        self._compiled = _MLModelProxy.compileModel(path)
        self._predict = predictions.open_model(Path(self._compiled))
        self._duration = None

    def predict(self, data, state):
        start = time.perf_counter_ns()
        outputs = self._predict(data)
        self._duration = time.perf_counter_ns() - start
        return outputs

    def get_load_duration_in_nano_seconds(self):
        return 7_000_000

    def get_last_predict_duration_in_nano_seconds(self):
        return self._duration

    def get_compiled_model_path(self):
        return self._compiled

    @staticmethod
    def maximum_supported_specification_version():
        return 10

    @staticmethod
    def auto_set_specification_version(spec):
        return spec

    @staticmethod
    def compileModel(path):  # noqa: N802 - Apple's name
        compiled = Path(tempfile.mkdtemp()) / "model.mlmodelc"
        shutil.copytree(path, compiled)
        predictions.describe(compiled)
        return str(compiled)

    @staticmethod
    def get_model_structure(path):
        from coremltools.models import compute_plan as plans

        def operation(described):
            outputs = [plans.MLModelStructureProgramNamedValueType(described["output"], None)]
            return plans.MLModelStructureProgramOperation({}, described["type"], outputs, [], None)

        operations = [operation(each) for each in predictions.description(Path(path))["operations"]]
        block = plans.MLModelStructureProgramBlock([], operations, [])
        function = plans.MLModelStructureProgramFunction([], block)
        program = plans.MLModelStructureProgram({"main": function})
        return plans.MLModelStructure(None, program, None)

    @staticmethod
    def get_compute_plan(path, compute_units):
        from coremltools.models.compute_plan import MLComputePlan

        return MLComputePlan(_LocalPlan(path, compute_units))


class _LocalPlan(_MLComputePlanProxy):
    def __init__(self, path, compute_units):
        self.model_structure = _MLModelProxy.get_model_structure(path)
        operations = predictions.description(Path(path))["operations"]
        self._planned = predictions.plan(operations, compute_units)

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        planned = self._planned.get(operation.outputs[0].name)
        if planned is None:
            return None
        units = [_device(unit) for unit in planned["supported"]]
        return MLComputePlanDeviceUsage(_device(planned["preferred"]), units)

    def get_estimated_cost_for_mlprogram_operation(self, operation):
        from coremltools.models.compute_plan import MLComputePlanCost

        planned = self._planned.get(operation.outputs[0].name)
        return MLComputePlanCost(planned["weight"]) if planned else None


def _device(unit):
    from coremltools.models import compute_device as devices

    return {
        "neuralEngine": lambda: devices.MLNeuralEngineComputeDevice(
            _MLNeuralEngineComputeDeviceProxy()
        ),
        "gpu": lambda: devices.MLGPUComputeDevice(_MLGPUComputeDeviceProxy()),
        "cpu": lambda: devices.MLCPUComputeDevice(_MLCPUComputeDeviceProxy()),
    }[unit]()
