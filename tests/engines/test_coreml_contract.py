"""What is used of coremltools, pinned: a release that changes it fails here, and says where."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

# Importing coremltools warns of what its own dependencies do.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

EXPERIMENTAL = "coremltools.models.ml_program.experimental"

SIGNATURES = {
    "coremltools.utils.load_spec": ("model_path",),
    f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.from_spec_or_path": (
        "spec_or_path",
        "weights_dir",
        "compute_units",
        "function_name",
        "optimization_hints",
        "device",
    ),
    f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.load": ("self",),
    f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.unload": ("self",),
    f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.predict": ("self", "inputs", "state"),
    f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.retrieve_compute_plan": ("self",),
    f"{EXPERIMENTAL}.remote_device.AppSigningCredentials": (
        "development_team",
        "provisioning_profile_uuid",
        "bundle_identifier",
    ),
    f"{EXPERIMENTAL}.remote_device.Device.get_devices": (),
    f"{EXPERIMENTAL}.remote_device.Device.get_connected_devices": ("device_type",),
    f"{EXPERIMENTAL}.remote_device.Device.prepare_for_model_debugging": (
        "self",
        "credentials",
        "working_directory",
        "clean",
    ),
    f"{EXPERIMENTAL}.remote_device._AppSession.stop": ("self",),
    f"{EXPERIMENTAL}.remote_device._DeviceCtlError": ("message", "error_code"),
    f"{EXPERIMENTAL}.remote_device._AppBuilder.Error": ("message", "error_code"),
    f"{EXPERIMENTAL}.perf_utils.MLModelBenchmarker": ("model", "device"),
    f"{EXPERIMENTAL}.perf_utils.MLModelBenchmarker.benchmark_load": ("self", "iterations"),
    f"{EXPERIMENTAL}.perf_utils.MLModelBenchmarker.benchmark_predict": (
        "self",
        "inputs",
        "iterations",
        "warmup",
    ),
    f"{EXPERIMENTAL}.perf_utils.MLModelBenchmarker.benchmark_operation_execution": (
        "self",
        "inputs",
        "iterations",
        "warmup",
    ),
    "coremltools.models.compute_plan.MLComputePlan."
    "get_compute_device_usage_for_mlprogram_operation": ("self", "operation"),
    "coremltools.models.compute_plan.MLComputePlan.get_estimated_cost_for_mlprogram_operation": (
        "self",
        "operation",
    ),
}

COROUTINES = ("load", "unload", "predict", "retrieve_compute_plan", "prepare_for_model_debugging")

FIELDS = {
    f"{EXPERIMENTAL}.remote_device.Device": {"udid", "os_version", "state", "session"},
    "coremltools.models.compute_plan.MLComputePlanDeviceUsage": {
        "preferred_compute_device",
        "supported_compute_devices",
    },
    "coremltools.models.compute_plan.MLComputePlanCost": {"weight"},
    "coremltools.models.compute_plan.MLModelStructureProgramOperation": {
        "operator_name",
        "outputs",
    },
}


def find(path: str):
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(path)


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_function_takes_what_it_did(path: str) -> None:
    function = find(path)
    assert tuple(inspect.signature(function).parameters) == SIGNATURES[path]
    if path.rpartition(".")[2] in COROUTINES:
        assert inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("path", FIELDS)
def test_a_record_has_the_fields_it_had(path: str) -> None:
    assert {field.name for field in dataclasses.fields(find(path))} >= FIELDS[path]


@pytest.mark.parametrize(
    "name",
    ["MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice"],
)
def test_the_compute_devices_have_the_names_they_had(name: str) -> None:
    from mvdeploy.engines.coreml import compute_plan

    assert find(f"coremltools.models.compute_device.{name}").__name__ in compute_plan._UNIT_OF


def test_the_compute_units_have_the_names_they_had() -> None:
    from mvdeploy.engines.coreml import COMPUTE_UNITS

    units = find("coremltools.ComputeUnit")
    assert {unit.name.lower() for unit in units} == set(COMPUTE_UNITS)


def test_properties_that_hold_times() -> None:
    for name in ("load_duration_in_nano_seconds", "last_predict_duration_in_nano_seconds"):
        found = find(f"{EXPERIMENTAL}.async_wrapper.MLModelAsyncWrapper.{name}")
        assert isinstance(found, property)


def test_the_app_is_a_process_whose_output_can_be_read() -> None:
    remote = importlib.import_module(f"{EXPERIMENTAL}.remote_device")
    assert "self._process = process" in inspect.getsource(remote._AppSession.__init__)
    assert inspect.getsource(remote._DeviceCtl._run_command_async).count("PIPE") == 3


def test_the_defects_that_are_worked_around_are_still_there() -> None:
    """When one of these fails, a workaround can go."""
    remote = importlib.import_module(f"{EXPERIMENTAL}.remote_device")
    service = inspect.signature(remote._DeviceCtlRemoteService.__init__).parameters
    assert (service["poll_time"].default, service["max_attempts"].default) == (0.5, 20)
    assert inspect.isfunction(remote._AppSession.is_alive)  # used like a property
    assert "delete=False" in inspect.getsource(
        remote._RemoteMLModelService._prepare_data_for_transfer
    )
    assert "message=e.stderr" in inspect.getsource(remote._AppBuilder.build)
    perf = importlib.import_module(f"{EXPERIMENTAL}.perf_utils")
    assert 'type == "imageType"' in inspect.getsource(perf._gen_random_feature_value)
