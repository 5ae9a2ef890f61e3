"""A scheduler or a worker of a test, which ends with the test: ``scheduler JSON``, ``worker JSON``.

A worker has the devices that it is told of, and tasks are done by the stand-in. When it is ready it
prints a line, the scheduler its address.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline.fleet.executors import cluster
from mvdeploy.pipeline.fleet.machine import Machine
from mvdeploy.records import codec
from mvdeploy.records.fleet import Unit
from tests.pipeline.fleet.standing_in import PROGRAM


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _say(text: str = "ready") -> None:
    print(text, flush=True)


def main(role: str, given: dict[str, Any]) -> None:
    threading.Thread(target=_end_with_input, daemon=True).start()
    cluster.VERSIONS.update(given.get("versions", {}))
    keys = Path(given["keys"]) if given.get("keys") else None
    address = cluster.Address(given["address"], keys)
    if role == "scheduler":
        cluster.schedule(address, _say, given.get("ttl_s", cluster.TTL_S))
        return
    units = [codec.decode(Unit, unit) for unit in given["units"]]
    machine = Machine(lambda: units, {}, Path(given["folder"]), PROGRAM)
    cluster.serve(address, machine, _say)


if __name__ == "__main__":
    try:
        main(sys.argv[1], json.loads(sys.argv[2]))
    except MvdeployError as error:
        print(f"{error.message} {error.remedy}", flush=True)
        sys.exit(error.exit_code)
