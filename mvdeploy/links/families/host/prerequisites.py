"""What it takes to measure on this machine, and what there is; reports of faults ask for it too."""

from __future__ import annotations

from collections.abc import Iterator

import mvdeploy
from mvdeploy import engines
from mvdeploy.errors import MvdeployError
from mvdeploy.links import Prerequisite, State
from mvdeploy.links.families.host import readings
from mvdeploy.records import DeviceProfile


def checks(profile: DeviceProfile) -> Iterator[Prerequisite]:
    """Yield what this machine is, then each engine that can run on it.

    An engine of the profile is missing when it is not installed; of others only those are named
    that are.
    """
    found = readings.identity()
    yield _met("system", f"{found['os']}, {found['kernel']}")
    cores = f"{found['cores_physical']} cores, {found['cores_logical']} logical"
    yield _met("processor", f"{found['cpu']}, {found['architecture']}, {cores}")
    if isinstance(memory := found["memory_bytes"], int):
        yield _met("memory", f"{memory / 1e9:.1f} GB")
    yield _met("mvdeploy", mvdeploy.__version__)
    yield _met("Python", str(found["python"]))
    for name in engines.run_by("host"):
        try:
            engines.demand(name)
        except MvdeployError as error:
            if name in profile.engines:
                yield Prerequisite(name, State.MISSING, error.message, error.remedy)
        else:
            yield _met(name, engines.get(name).version())


def _met(name: str, found: str) -> Prerequisite:
    return Prerequisite(name, State.MET, found)
