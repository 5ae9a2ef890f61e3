"""Stands in for coremltools' app on the phone: answers JSON-RPC requests that come as files.

Its whole world is the folder of its data container. ``phone.json`` says what is to go wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.apple import predictions
from tests.apple.programs import phone, save_phone

ROOT = Path("container") / "Documents" / "modelrunnerd"


class Failure(Exception): ...


class App:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / ROOT
        self.models: dict[str, tuple] = {}
        self.predicted = 0

    def run(self) -> None:
        requests = self.root / "requests" / "messages"
        parent = os.getppid()
        while os.getppid() == parent:
            for message in sorted(requests.glob("*/message.json")):
                self.answer(message)
            time.sleep(0.005)

    def answer(self, path: Path) -> None:
        request = json.loads(path.read_text())
        shutil.rmtree(path.parent)
        folder = self.root / "responses" / request["id"]
        folder.mkdir(parents=True)
        resource = self.root / "requests" / "resources" / request["id"]
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        log = self.folder / "calls.log"
        with log.open("a") as file:
            file.write(f"{request['method']} {request['params'].get('computeUnits', '')}\n")
        try:
            method = getattr(self, request["method"].rpartition(".")[2])
            answer["result"] = method(
                request["params"], resource / request.get("resource", ""), folder, answer
            )
        except Failure as error:
            answer["error"] = {"code": -32000, "message": str(error)}
        part = folder / "part"
        part.write_text(json.dumps(answer))
        part.rename(folder / "message.json")

    def Load(self, params, resource, folder, answer):  # noqa: N802
        faults = phone(self.folder)["faults"]
        if faults.get("refuses"):
            raise Failure("Error Domain=com.apple.CoreML Code=0: the model cannot be loaded.")
        known = self.folder / "loaded" / f"{params['name']}-{params['computeUnits']}"
        if faults.get("load_s") and not known.exists():
            time.sleep(faults["load_s"])
        if faults.get("loads_when_asked_again") and not known.exists():
            while not list((self.root / "requests" / "messages").glob("*/message.json")):
                time.sleep(0.01)
        known.parent.mkdir(exist_ok=True)
        known.touch()
        self.models[params["modelID"]] = (
            predictions.open_model(resource),
            predictions.description(resource),
            params["computeUnits"],
        )
        return {"modelID": params["modelID"], "duration": 4_000_000}

    def Unload(self, params, resource, folder, answer):  # noqa: N802
        del self.models[params["modelID"]]
        return {"modelID": params["modelID"]}

    def Prediction(self, params, resource, folder, answer):  # noqa: N802
        self.fail()
        predict, _, _ = self.models[params["modelID"]]
        data = resource.read_bytes()
        inputs = {name: self.tensor(data, each) for name, each in params["inputs"].items()}
        start = time.perf_counter_ns()
        outputs = predict(inputs)
        duration = time.perf_counter_ns() - start
        described, blob = {}, b""
        for name, value in outputs.items():
            value = np.ascontiguousarray(value, np.float32)
            described[name] = {
                "shape": list(value.shape),
                "strides": [stride // 4 for stride in value.strides],
                "dataType": "Float32",
                "storage": {"offset": len(blob), "size": value.nbytes},
            }
            blob += value.tobytes()
        (folder / "outputs.bin").write_bytes(blob)
        answer["resource"] = "outputs.bin"
        return {"modelID": params["modelID"], "outputs": described, "duration": duration}

    def ComputePlan(self, params, resource, folder, answer):  # noqa: N802
        _, described, units = self.models[params["modelID"]]
        devices = {"cpu": {"cpu": {}}, "gpu": {"gpu": {}}}
        devices["neuralEngine"] = {"neuralEngine": {"totalCoreCount": 16}}
        infos = []
        for output, planned in predictions.plan(described["operations"], units).items():
            components = [
                {"program": {}},
                {"programFunction": {"data": {"name": "main"}}},
                {"programBlock": {"data": {"index": -1}}},
                {"programOperation": {"data": {"outputName": output}}},
            ]
            usage = {
                "preferred": devices[planned["preferred"]],
                "supported": [devices[unit] for unit in planned["supported"]],
            }
            infos.append(
                {
                    "deviceUsage": usage,
                    "estimatedCost": planned["weight"],
                    "path": {"components": components},
                }
            )
        return {"modelID": params["modelID"], "infos": infos}

    @staticmethod
    def tensor(data, described):
        dtype = np.dtype(described["dataType"].lower())
        start, size = described["storage"]["offset"], described["storage"]["size"]
        flat = np.frombuffer(data[start : start + size], dtype)
        strides = [stride * dtype.itemsize for stride in described["strides"]]
        return np.lib.stride_tricks.as_strided(flat, described["shape"], strides)

    def fail(self) -> None:
        self.predicted += 1
        state = phone(self.folder)
        faults = state["faults"]
        if self.predicted == faults.get("die_at"):
            print("libBNNS: jetsam: memory limit exceeded", flush=True)
            os._exit(9)
        if self.predicted == faults.get("unplug_at"):
            save_phone(self.folder, {**state, "tunnel": "disconnected"})
            os._exit(1)


if __name__ == "__main__":
    App(Path(sys.argv[1])).run()
