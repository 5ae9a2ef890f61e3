"""mvdeploy: deploy light vision transformers, and measure where their latency goes.

The pipeline, a line for each stage::

    spec     ─ models.build ──────────▶ network              nn.Module in eval mode
    network  ─ passes.apply ──────────▶ network, reports     BatchNorm folded, checked
    network  ─ formats.write ─────────▶ artifact             a file and its manifest
    artifact ─ verify.parity.check ───▶ parity               does it still compute the same?
    artifact ─ timing.measure.measure ▶ measurement          every sample, on a device
    trace    ─ attribute.break_down ──▶ breakdown            where the latency goes
    run      ─ report.render ─────────▶ md, html, csv, png

`mvdeploy.pipeline` runs these stages; the commands call it, and so do four functions::

    import mvdeploy

    exported = mvdeploy.export("mobilevit_xs", format="onnx", patches=(8, 4, 2))
    result = mvdeploy.bench(["mobilevit_xs", exported], threads=1)
    result.frame("operators").groupby("category")["ms"].sum()
    mvdeploy.compare("mobilevit_xs", exported).verdict
    mvdeploy.load(result.path).plot("categories")

Networks may also be ``nn.Module`` objects. Below these there are the stages themselves: `make_spec`
and `build`, `Builder`, `Request` and `run`, `load_run` and `render`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_API = {
    "Builder": "mvdeploy.pipeline.export",
    "Comparison": "mvdeploy.api.compare",
    "Exported": "mvdeploy.api.export",
    "ModelSpec": "mvdeploy.records",
    "MvdeployError": "mvdeploy.errors",
    "Pair": "mvdeploy.api.result",
    "Plan": "mvdeploy.records",
    "Request": "mvdeploy.pipeline.bench",
    "Result": "mvdeploy.api.result",
    "ResultCase": "mvdeploy.api.result",
    "bench": "mvdeploy.api.bench",
    "build": "mvdeploy.models",
    "compare": "mvdeploy.api.compare",
    "export": "mvdeploy.api.export",
    "load": "mvdeploy.api.result",
    "load_run": "mvdeploy.records.run",
    "make_spec": "mvdeploy.models",
    "parse_patches": "mvdeploy.records.spec",
    "render": "mvdeploy.pipeline.report",
    "run": "mvdeploy.pipeline.bench",
}
"""Public name → module; nothing is imported before it is used."""

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'mvdeploy' has no attribute '{name}'")
    return getattr(importlib.import_module(_API[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
