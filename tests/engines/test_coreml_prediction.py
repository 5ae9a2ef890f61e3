"""Core ML predicts what the network computes.

With ``MVDEPLOY_TEST_COREML=genuine``, as on a hosted Mac, Core ML itself does; otherwise a stand-in
for its native module, in which the MIL interpreter computes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mvdeploy.engines.coreml import COMPUTE_UNITS, compute_plan
from tests.apple.stand_in import StandIn

ROOT = Path(__file__).parents[2]
GENUINE = os.environ.get("MVDEPLOY_TEST_COREML") == "genuine"

# Importing coremltools warns of what its own dependencies do.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

# In a process of its own: the stand-in has to be there before coremltools is imported.
SCRIPT = """
import json, sys
from pathlib import Path
root, package, name, tensor, folder, stand_in = sys.argv[1:]
sys.path.insert(0, root)
if stand_in:
    from tests.apple import stand_in as substitute
    substitute.install(stand_in)
import numpy as np
from mvdeploy.engines import SessionRequest, coreml
coreml.start()
said = {"stand-in": hasattr(coreml.native(), "STAND_IN")}
inputs = {name: np.load(tensor)}
for units in coreml.COMPUTE_UNITS:
    profile_to = Path(folder, units)
    profile_to.mkdir()
    request = SessionRequest(
        Path(package), inputs, profile_to=profile_to, options={"compute_units": units}
    )
    session = coreml.open_session(request)
    session.infer()
    (output,) = session.outputs().values()
    said[units] = {
        "output": output.astype(float).tolist(),
        "load": session.load_ns,
        "durations": session.durations_ns,
        "plan": str(session.end_profile()),
    }
    session.close()
print("SAID" + json.dumps(said))
"""


def predicted(package: Path, name: str, tensor: Path, folder: Path) -> dict:
    environment, stand_in = dict(os.environ), ""
    if not GENUINE:
        mac = StandIn(folder / "mac")
        environment = {**mac.environment, "MVDEPLOY_STAND_IN_MIL": "1"}
        stand_in = str(mac.folder)
    words = (str(ROOT), str(package), name, str(tensor), str(folder), stand_in)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "SAID" in done.stdout, done.stderr[-3000:]
    said: dict = json.loads(done.stdout.rpartition("SAID")[2])
    assert said.pop("stand-in") is not GENUINE
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "exact", "least"), [("fp32", 60, 35), ("fp16", 25, 25)])
def test_core_ml_predicts_what_the_network_computes(
    exported, tmp_path: Path, precision: str, exact: float, least: float
) -> None:
    """In decibels: by the CPU alone, and where GPU and Neural Engine may have a part."""
    import torch

    export = exported("coreml", size="64", patches="2,2,2", precision=precision)
    (tensor,) = export.artifact.inputs
    image = np.random.default_rng(0).random(tensor.shape, dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    with torch.no_grad():
        wanted = export.network(torch.from_numpy(image)).numpy()
    said = predicted(export.path, tensor.name, tmp_path / "image.npy", tmp_path)
    assert set(said) == set(COMPUTE_UNITS)
    for units, found in said.items():
        error = np.asarray(found["output"]) - wanted
        db = 20 * math.log10(np.linalg.norm(wanted) / np.linalg.norm(error))
        assert db >= (exact if units == "cpu_only" else least), units
        assert found["load"] > 0 and len(found["durations"]) == 1 and found["durations"][0] > 0
        plan = compute_plan.load(Path(found["plan"]))
        assert plan.compute_units == units
        shares = [operator.weight for operator in plan.operators if operator.weight is not None]
        assert sum(shares) == pytest.approx(1, abs=0.05)
