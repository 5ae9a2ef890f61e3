"""How fast this machine multiplies: ``python -m mvdeploy.runners.rates`` prints `Rate` records.

In a process of its own, so that the number of threads and what oneDNN prints of itself are its own.
Each library that is installed multiplies matrices of each type of numbers that it takes; the best
median counts. With one thread its CPU time is taken, with several the wall time.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mvdeploy.runners import process

SIZES = (512, 1024)
_REPEATS = 30

_RANKS = (9, 20)
"""Of 30 ordered values: between these lies the median with 95 % (by the binomial distribution)."""

Product = Callable[[], object]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure with one thread and with all, and print an event for each product."""
    parser = argparse.ArgumentParser()
    parser.add_argument("threads", type=int)
    threads = parser.parse_args(argv).threads
    process.die_with_parent()
    for numbers, by, size, product, instructions in _products(threads):
        rates = sorted(size**3 * 1e9 / ns for ns in _times(product, threads))
        rate = {
            "numbers": numbers,
            "threads": threads,
            "macs_per_s": statistics.median(rates),
            "low": rates[_RANKS[0]],
            "high": rates[_RANKS[1]],
            "by": by,
            "instructions": instructions,
        }
        print(json.dumps(rate), flush=True)


def _times(product: Product, threads: int) -> list[int]:
    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
    for _ in range(3):
        product()
    times = []
    for _ in range(_REPEATS):
        start = clock()
        product()
        times.append(max(1, clock() - start))
    return times


def _products(threads: int) -> Iterator[tuple[str, str, int, Product, str]]:
    for size in SIZES:
        for numbers, by, product, instructions in (*_torch(size, threads), *_ort(size, threads)):
            yield numbers, by, size, product, instructions


def _torch(size: int, threads: int) -> Iterator[tuple[str, str, Product, str]]:
    import torch

    torch.set_num_threads(threads)
    plain = torch.randn(2, size, size)
    whole = torch.randint(-9, 9, (2, size, size), dtype=torch.int8)
    kinds = (
        ("fp32", "mm", plain),
        # Where a type is emulated this is slow, which is its rate here.
        ("bf16", "mm", plain.bfloat16()),
        ("fp16", "mm", plain.half()),
        ("int8", "_int_mm", whole),
    )
    for numbers, function, matrices in kinds:
        product = functools.partial(getattr(torch, function), *matrices)
        yield numbers, f"torch.{function}", product, _told(product)


def _told(product: Product) -> str:
    """Return the instructions that oneDNN says it takes, else those that PyTorch was built for."""
    import torch

    with tempfile.TemporaryFile() as file, torch.backends.mkldnn.verbose(1):  # type: ignore[no-untyped-call]
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            product()
            ctypes.CDLL(None).fflush(None)  # it prints through C's own buffer
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        named = re.findall(r",exec,cpu,\w+,\w+:(\w+),", file.read().decode(errors="replace"))
    return named[-1] if named else f"not told; up to {torch.backends.cpu.get_cpu_capability()}"


def _ort(size: int, threads: int) -> Iterator[tuple[str, str, Product, str]]:
    import numpy as np

    rng = np.random.default_rng(0)
    weights = rng.integers(-9, 9, (size, size)).astype(np.int8)
    image = rng.integers(0, 9, (size, size)).astype(np.uint8)
    kinds: tuple[tuple[str, str, Any, Any], ...] = (
        ("fp32", "MatMul", image.astype(np.float32), weights.astype(np.float32)),
        ("int8", "MatMulInteger", image, weights),
    )
    for numbers, operator, x, y in kinds:
        product = functools.partial(_session(operator, x, y, threads).run, None, {"x": x})
        yield numbers, f"ONNX Runtime {operator}", product, "not told"


def _session(operator: str, x: Any, y: Any, threads: int) -> Any:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    whole = x.dtype == np.uint8
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32 if whole else 1, x.shape)],
        [numpy_helper.from_array(y, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )


if __name__ == "__main__":
    main()
