"""What files hold, looked at without what is tested; run in forks of the warm process."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def outputs() -> None:
    """Print the SNR, in dB, of a second file's outputs against a first one's, on seeded numbers."""
    first, second = (_run(Path(path)) for path in sys.argv[1:])
    if [array.shape for array in first] != [array.shape for array in second]:
        print(-math.inf)
        return
    print(min(_snr(a.astype(float), b.astype(float)) for a, b in zip(first, second, strict=True)))


def largest() -> None:
    """Print the largest magnitude among the tensors of a checkpoint."""
    path = Path(sys.argv[1])
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: Any = load_file(path)
    else:
        import torch

        tensors = torch.load(path, weights_only=True)
    print(max(_magnitudes(tensors), default=0.0))


def _magnitudes(tensors: Any) -> Any:
    if hasattr(tensors, "isfinite") and tensors.numel():
        finite = bool(tensors.isfinite().all())
        yield float(tensors.double().abs().max()) if finite else math.inf
    elif isinstance(tensors, Mapping):
        for inner in tensors.values():
            yield from _magnitudes(inner)


def _snr(a: np.ndarray, b: np.ndarray) -> float:
    if not np.isfinite(b).all():
        return -math.inf
    noise = float(((a - b) ** 2).sum())
    return math.inf if noise == 0 else 10 * math.log10(float((a**2).sum()) / noise)


def _run(path: Path) -> list[np.ndarray]:
    feed = np.random.default_rng(7).random((1, 3, 32, 32), np.float32)
    return list(_ENGINES[path.suffix](path, feed))


def _onnxruntime(path: Path, feed: np.ndarray) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})


def _torch(path: Path, feed: np.ndarray) -> Any:
    import torch

    with torch.inference_mode():
        return [torch.export.load(path).module()(torch.from_numpy(feed)).numpy()]


def _executorch(path: Path, feed: np.ndarray) -> Any:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return [tensor.numpy() for tensor in method.execute([torch.from_numpy(feed)])]


def _litert(path: Path, feed: np.ndarray) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    # From memory, so that it is checked before it is followed.
    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
    interpreter.invoke()
    return [interpreter.get_tensor(about["index"]) for about in interpreter.get_output_details()]


def _coreml(path: Path, feed: np.ndarray) -> Any:
    # Nothing else than mvdeploy's interpreter runs these here.
    from mvdeploy.engines import SessionRequest
    from mvdeploy.verify import mil

    session = mil.open_session(SessionRequest(path, {"image": feed}))
    session.infer()
    return [np.asarray(output) for output in session.outputs().values()]


_ENGINES = {
    ".onnx": _onnxruntime,
    ".ort": _onnxruntime,
    ".pt2": _torch,
    ".pte": _executorch,
    ".tflite": _litert,
    ".mlpackage": _coreml,
}
