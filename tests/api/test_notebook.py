"""A notebook that is executed shows results, exports, comparisons and figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")

CELLS = (
    "import mvdeploy\n"
    'exported = mvdeploy.export("yardstick", "net.pt2", format="pytorch")\n'
    "exported",
    "result = mvdeploy.bench(exported, iterations=8, warmup=2, breakdown=False, progress=True)\n"
    "result",
    'result.plot("latency")',
    'mvdeploy.compare("run", "run")',
    'result.frame("cases")',
    "import sys\n'matplotlib.pyplot' in sys.modules",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what drives the kernel
def test_a_notebook_shows_what_was_found(workspace: Path) -> None:
    import jupyter_client.kernelspec
    import nbformat

    spec = jupyter_client.kernelspec.KernelSpecManager().install_kernel_spec
    own = workspace / "kernel"
    own.mkdir()
    (own / "kernel.json").write_text(
        f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], '
        '"display_name": "this Python", "language": "python"}'
    )
    spec(str(own), "this-python", prefix=str(workspace / "jupyter"))
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(workspace / "jupyter" / "share" / "jupyter"))
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="this-python",
            timeout=300,
            resources={"metadata": {"path": str(workspace)}},
        )
        client.execute()
    shown = [_shown(cell) for cell in notebook.cells]
    assert shown[0]["text/html"].startswith("<p>Computes what PyTorch does on ")
    assert shown[1]["text/html"].startswith("<p>Median latency (p50): yardstick ")
    assert shown[1]["text/plain"].startswith("<Result ")
    assert shown[2]["image/png"]
    assert "No difference detected" in shown[3]["text/html"]
    assert "p50_ms" in shown[4]["text/html"]
    assert shown[5]["text/plain"] == "False"


def _shown(cell: Any) -> dict[str, str]:
    (result,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    return dict(result.data)
