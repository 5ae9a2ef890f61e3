"""A browser whose threads cannot be seen, as on macOS: CPU times are those of blocks."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import devices, files
from mvdeploy.links.browsing.devtools import PROCESS_TIME
from mvdeploy.links.families.browser import link as browser_link
from mvdeploy.links.families.browser.observing import Observer
from mvdeploy.models import make_spec
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Job, JobModel, Warmup
from tests.web_engines import web_engines

__all__ = ["web_engines"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("threads", [1, 2])
def test_cpu_times_without_proc(
    web_engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    nothing = tmp_path / "proc"
    nothing.mkdir()
    monkeypatch.setattr(browser_link, "Observer", functools.partial(Observer, root=nothing))
    path, tensor = tmp_path / "net.onnx", tmp_path / "x.npy"
    Builder(make_spec("yardstick")).export("onnx", path)
    np.save(tensor, np.zeros((1, 3, 56, 56), np.float32))
    model = JobModel("onnxruntime-web", str(path), files.sha256(path), {"image": str(tensor)})
    job = Job((model,), (0,) * 200, threads, Warmup(iterations=2))
    link = browser_link.BrowserLink(devices.get("chrome"))
    link.needs = ("onnxruntime-web",)
    with link:
        hello: list[dict[str, object]] = []
        link.run(job, 120, lambda event: hello.append(dict(event)))
    samples = [event for event in hello if event["event"] == "samples"]
    assert samples
    if threads == 1:
        assert hello[0]["clock"]["cpu"]["implementation"] == PROCESS_TIME  # type: ignore[index]
        blocks = [block for event in samples for block in event["cpu_blocks"]]  # type: ignore[attr-defined]
        assert sum(count for count, _ in blocks) >= 200
        assert sum(cpu for _, cpu in blocks) > 0
    else:  # the time of the process would be that of all threads
        assert not any("cpu_blocks" in event for event in samples)
        assert not any(sum(event["cpu_ns"]) for event in samples)  # type: ignore[call-overload]
