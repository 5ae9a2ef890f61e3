"""What the runner's timed loop adds to an inference.

The loop of `mvdeploy.runners` and a bare ``for: infer()`` take turns in random order, in rounds of
equal length. Printed is the difference per inference: median over the rounds with a 95 % interval,
for a call that does nothing and for a small ONNX model. At most 5 µs is wanted.

    python benchmarks/harness_overhead.py
"""

from __future__ import annotations

import gc
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mvdeploy import engines
from mvdeploy.engines import SessionRequest
from mvdeploy.runners.loop import time_order

ROUNDS = 200
LIMIT_NS = 5000.0


def bare(infer: Callable[[], object], count: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(count):
        infer()
    return (time.perf_counter_ns() - start) / count


def harnessed(infer: Callable[[], object], count: int) -> float:
    order = [0] * count
    start = time.perf_counter_ns()
    time_order([infer], order)
    return (time.perf_counter_ns() - start) / count


def compare(name: str, infer: Callable[[], object], count: int) -> None:
    rng = random.Random(0)
    loops = [bare, harnessed]
    times: dict[str, list[float]] = {"bare": [], "harnessed": []}
    bare(infer, count)
    for _ in range(ROUNDS):
        rng.shuffle(loops)
        for loop in loops:
            times[loop.__name__].append(loop(infer, count))
    differences = sorted(h - b for h, b in zip(times["harnessed"], times["bare"], strict=True))
    middle = statistics.median(differences)
    low, high = order_interval(differences)
    print(
        f"{name:12}  bare {statistics.median(times['bare']) / 1e3:9.3f} µs   "
        f"harness adds {middle / 1e3:.3f} µs [{low / 1e3:.3f}, {high / 1e3:.3f}]   "
        f"{'ok' if high <= LIMIT_NS else 'MORE THAN WANTED'}"
    )


def order_interval(ordered: list[float]) -> tuple[float, float]:
    """95 % interval of the median from order statistics (normal approximation)."""
    half = 0.98 * len(ordered) ** 0.5
    middle = (len(ordered) - 1) / 2
    low, high = int(middle - half), int(middle + half + 1)
    return ordered[max(0, low)], ordered[min(len(ordered) - 1, high)]


def tiny_model(path: Path) -> None:
    from onnx import TensorProto, helper, save

    shape = [1, 8, 16, 16]
    weights = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def main() -> None:
    gc.disable()  # as the runner does
    compare("no-op", lambda: None, 20_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        tiny_model(path)
        inputs = {"x": np.ones((1, 8, 16, 16), np.float32)}
        session = engines.get("onnxruntime").open_session(SessionRequest(path, inputs))
        compare("tiny ONNX", session.infer, 1000)


if __name__ == "__main__":
    main()
