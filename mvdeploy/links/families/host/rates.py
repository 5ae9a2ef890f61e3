"""The rates of this machine: measured once, kept in the user's data folder, and read from there."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

from mvdeploy import files, started
from mvdeploy.errors import EngineError
from mvdeploy.links.families.host import python_runner, readings
from mvdeploy.records import Rate, Rates, Reading
from mvdeploy.records.codec import RecordError, decode, load, save

_LIBRARIES = ("torch", "onnxruntime")
_LIMIT_S = 300.0


def machine() -> dict[str, str]:
    """Return what rates hold for: another processor or release may be faster or slower."""
    known = readings.identity()
    versions = {name: _version(name) for name in _LIBRARIES}
    return {"cpu": str(known["cpu"]), "cores": str(_cores()), **versions}


def kept() -> Rates | None:
    """Return the rates that were measured on this machine with these libraries, if they were."""
    with contextlib.suppress(RecordError, OSError):
        found = load(Rates, _path())
        if found.machine == machine():
            return found
    return None


def measure() -> Rates:
    """Measure the rates, and keep them.

    Raises:
        EngineError: a library failed.
        NotWritten: they cannot be kept.
    """
    best: dict[tuple[str, int], Rate] = {}
    for threads in dict.fromkeys((1, _cores())):
        for rate in _measured(threads):
            key = rate.numbers, rate.threads
            if key not in best or rate.macs_per_s > best[key].macs_per_s:
                best[key] = rate
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rates = Rates(machine(), now, tuple(best.values()))
    save(rates, _path())
    return rates


def identity() -> dict[str, Reading]:
    """Return the kept rates as facts about this machine; nothing when none were measured."""
    rates = kept()
    return {} if rates is None else {name_of(r): r.macs_per_s for r in rates.rates}


def name_of(rate: Rate) -> str:
    """Return the name of a rate among the facts about a machine."""
    return f"macs_per_s_{rate.numbers}_{rate.threads}"


def _measured(threads: int) -> list[Rate]:
    command = (*python_runner("mvdeploy.runners.rates"), str(threads))
    environment = {**started.environment(), "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, env=environment, check=True
        )
        return [decode(Rate, json.loads(line), "a rate") for line in done.stdout.splitlines()]
    except (OSError, subprocess.SubprocessError, ValueError, RecordError) as error:
        *_, told = str(getattr(error, "stderr", "") or error or "no reason told").splitlines()
        raise EngineError(
            f"The rates of this machine could not be measured ({told.strip()}).",
            "Check that torch and onnxruntime are installed and run here.",
        ) from error


def _cores() -> int:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return len(allowed) or os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _path() -> Path:
    key = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]
    return files.user_folder("data") / "rates" / f"{key}.json"
