"""What stands in for the process that measures: `asked` says what it does, nothing is measured.

``steps`` are told, each after ``pause_s``; then it ends as ``end`` says: ``run`` (a folder with a
file that names device, process and times), ``error``, ``device gone`` or ``die``. Where
``until_interrupted`` is set, it goes on until somebody interrupts it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

PROGRAM = (sys.executable, __file__)


def main() -> None:
    with open(0, "rb", buffering=0, closefd=False) as stream:
        piece = json.loads(stream.readline())

    def end_with_input() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=end_with_input, daemon=True).start()
    began, asked = time.time(), piece["task"]["asked"]

    def tell(**event: object) -> None:
        print(json.dumps(event), flush=True)

    try:
        for step in asked.get("steps", ()):
            tell(step=step)
            time.sleep(asked.get("pause_s", 0.0))
        while asked.get("until_interrupted"):
            time.sleep(0.05)
    except KeyboardInterrupt:
        tell(error=["Interrupted.", "Nothing had been measured.", 130])
        return
    end = asked.get("end", "run")
    if end == "die":
        os._exit(9)
    if end == "error":
        tell(error=["The engine failed.", "Mend it.", 4])
        return
    if end == "device gone":
        tell(error=["The device does not answer.", "Plug it in.", 3])
        return
    root = Path(piece["root"])
    name = f"{piece['unit']['name']}-{os.getpid()}"
    (root / name / "cases").mkdir(parents=True)
    told = {
        "device": piece["unit"]["name"],
        "process": os.getpid(),
        "began": began,
        "ended": time.time(),
        "files": {name: Path(path).read_text() for name, path in piece["places"].items()},
    }
    (root / name / "told.json").write_text(json.dumps(told))
    tell(run=name)


if __name__ == "__main__":
    main()
