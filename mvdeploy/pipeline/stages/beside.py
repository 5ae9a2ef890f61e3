"""A program of mvdeploy's own in a process beside this one: what it is told, and what it prints."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from mvdeploy import started
from mvdeploy.errors import EngineError
from mvdeploy.links.families.host import python_runner
from mvdeploy.records.codec import dumps

_AGAIN = "Run again with --debug; if it stays so, report this with the versions."


def told(module: str, job: object, limit_s: float) -> list[dict[str, Any]]:
    """Have a module do a job in a new process, and return the events that it printed.

    Args:
        module: as after ``python -m``.
        job: a record, which the program reads from its standard input.
        limit_s: seconds after which it counts as hung, and is killed.

    Raises:
        EngineError: it failed, died or hung.
    """
    try:
        done = subprocess.run(
            python_runner(module),
            input=dumps(job).encode(),
            capture_output=True,
            timeout=limit_s,
            env=started.environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"It did not end within {limit_s:.0f} s.", _AGAIN) from error
    except OSError as error:
        raise EngineError(f"It could not be started ({error}).", _AGAIN) from error
    try:
        events = [json.loads(line) for line in done.stdout.decode().splitlines()]
    except ValueError as error:
        raise EngineError("It printed something else than it should.", _AGAIN) from error
    for event in events:
        if event.get("event") == "error":
            raise EngineError(str(event["message"]), str(event["remedy"]))
    if done.returncode or not events:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        how = f"with status {done.returncode}" if done.returncode >= 0 else "killed"
        raise EngineError(f"It ended {how} ({last or 'no reason told'}).", _AGAIN)
    return events
