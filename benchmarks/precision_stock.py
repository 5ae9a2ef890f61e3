"""Coarser numbers: our exports against what each engine's own quantiser makes of the same network.

    python benchmarks/precision_stock.py [--model mobilevit_s] [--format onnx executorch]
        [--engine NAME] [--seconds 30] [--threads 1] [--json FILE]

ONNX: our fp32 graph through ``onnxruntime.quantization``: ``quantize_static`` with unsigned
activations (U8S8, each channel its own scale), with its defaults (S8S8), and ``quantize_dynamic``;
and through NNCF with its preset for transformers, which is OpenVINO's (``--engine openvino``).
ExecuTorch: the PyTorch network through PT2E with the XNNPACKQuantizer as its documentation shows,
static (each channel its own scale) and dynamic, lowered with the stock recipe. All take their
scales from the images that our exports take theirs from. Each file takes turns with our fp32 file
of the same format, as in 'mvdeploy compare'; SNR is that of the outputs against the PyTorch
network, the median of images that no scale was taken from.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.common import case, photograph, silent
from mvdeploy import devices, engines, formats, links, models, precisions
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder
from mvdeploy.quiet import without
from mvdeploy.records import ModelSpec, Plan, Warmup
from mvdeploy.stats.paired import TARGETS, clock_of, ratio
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import measure
from mvdeploy.verify import verifiers

WARMUP = Warmup(min_seconds=0.1, window_seconds=0.05, max_seconds=2.0)
IMAGES = 16
OURS = ("bf16", "int8-dynamic", "int8", "int8-fused", "int8-fast")


def main() -> None:
    """Print a line for each file, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilevit_s")
    parser.add_argument("--calm", action="store_true", help="random weights that forgive noise")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--format", nargs="*", default=["onnx", "executorch"], choices=STOCK)
    parser.add_argument("--engine", help="what runs the files, if not what verifies the format")
    parser.add_argument("--seconds", type=float, default=30.0, help="of turns for each pair")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    asked = parser.parse_args()
    spec = models.make_spec(asked.model, image_size=(asked.size,) * 2, calm=asked.calm)
    plan = Plan(threads=asked.threads, warmup=WARMUP, pairs_only=True, max_time_s=asked.seconds)
    figures = []
    with tempfile.TemporaryDirectory() as name, links.get(devices.get("host")) as link:
        for format_name in asked.format:
            folder = Path(name) / format_name
            folder.mkdir()
            reference = None
            for title, entry in made(spec, format_name, folder, asked.engine):
                figure: dict[str, Any] = {"format": format_name, "file": title}
                figure["megabytes"] = Path(entry.model.path).stat().st_size / 1e6
                try:
                    figure["snr_db"] = snr(spec, entry)
                    if reference is not None:
                        (comparison,) = measure([reference, entry], link, plan, silent())
                        clock = clock_of(comparison.groups, plan.threads).clock
                        found = ratio(comparison.groups, clock)
                        figure |= {"ratio": found.ratio, "low": found.low, "high": found.high}
                        figure |= {"clock": clock, "wide": found.half_width > TARGETS[clock]}
                except MvdeployError as error:
                    print(f"{format_name} {title}: {error}", flush=True)
                    continue
                reference = reference or entry
                figures.append(figure)
                print(line(figure), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1))


def line(figure: dict[str, Any]) -> str:
    """Return a figure in words."""
    said = f"{figure['format']} {figure['file']}: {figure['megabytes']:.1f} MB, "
    said += f"{figure['snr_db']:.1f} dB"
    if "ratio" in figure:
        interval = f"{figure['low']:.3f}-{figure['high']:.3f}, {figure['clock']} time"
        wide = ", wider than its target" if figure["wide"] else ""
        said += f", {figure['ratio']:.3f} of our fp32 (95 % {interval}{wide})"
    return said


def made(
    spec: ModelSpec, format_name: str, folder: Path, engine: str | None = None
) -> Iterator[tuple[str, Entry]]:
    """Export everything: title → the case. Our fp32 is the first."""
    builder, image = Builder(spec), photograph(spec, folder)
    engine = engine or formats.verifier(format_name)
    for precision in ("fp32", *OURS):
        own = verifiers.options(engine, precision)
        if precisions.get(precision).by_engine and not own:
            continue
        path = folder / f"{precision}{formats.suffix(format_name)}"
        try:
            options = formats.options(format_name, precision=precision)
            artifact = builder.export(format_name, path, options).artifact
        except MvdeployError as error:
            print(f"{format_name} our {precision}: {error}", flush=True)
            continue
        entry = case(path, engine, artifact.inputs[0].name, image)
        model = dataclasses.replace(entry.model, options=dict(own))
        yield f"our {precision}", dataclasses.replace(entry, model=model)
    for title, write in STOCK[format_name].items():
        path = folder / f"{title.replace(' ', '-')}{formats.suffix(format_name)}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write(spec, folder, path)
        except Exception as error:  # Whatever a quantiser of others does is a line of the table.
            print(f"{format_name} {title}: {type(error).__name__}: {str(error)[:200]}", flush=True)
            continue
        yield title, case(path, engine, spec.inputs[0].name, image)


def images(spec: ModelSpec) -> list[tuple[torch.Tensor, ...]]:
    """Return the images that scales are taken from."""
    wish, rule = calibration.DEFAULT, models.preprocessing(spec)
    return list(calibration.calibration(wish, spec, rule).feeds())


def snr(spec: ModelSpec, entry: Entry) -> float:
    """Return the median SNR of the outputs, in dB, of the engine as 'mvdeploy bench' opens it."""
    network, found = models.build(spec).eval(), []
    feeds = list(calibration.others(IMAGES, spec, models.preprocessing(spec)))
    (name,) = entry.model.inputs
    model, first = entry.model, next(iter(feeds[0].values()))
    request = SessionRequest(Path(model.path), {name: first}, 1, options=model.options)
    session = engines.get(model.engine).open_session(request)
    for feed in feeds:
        (fed,) = feed.values()
        with torch.inference_mode():
            exact = network(torch.from_numpy(fed)).double().numpy().ravel()
        session.feed({name: fed})
        session.infer()
        (made,) = session.outputs().values()
        noise = made.astype(np.float64).ravel() - exact
        found.append(10 * np.log10((exact**2).sum() / max((noise**2).sum(), 1e-300)))
    return float(np.median(found))


def static_onnx(**kinds: str) -> Callable[[ModelSpec, Path, Path], None]:
    """Return a writer of files of ``quantize_static``."""

    def write(spec: ModelSpec, folder: Path, path: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                name = spec.inputs[0].name
                self._feeds = iter([{name: image.numpy()} for (image,) in images(spec)])

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(self._feeds, None)

        options = {name: QuantType[kind] for name, kind in kinds.items()}
        ready = folder / "ready.onnx"
        quant_pre_process(str(folder / "fp32.onnx"), str(ready))
        quantize_static(str(ready), str(path), Reader(), per_channel=bool(kinds), **options)

    return write


def dynamic_onnx(spec: ModelSpec, folder: Path, path: Path) -> None:
    """Write what ``quantize_dynamic`` makes."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(folder / "fp32.onnx"), str(path))


def nncf_onnx(spec: ModelSpec, folder: Path, path: Path) -> None:
    """Write what NNCF makes with its preset for transformers."""
    with without("openvino_telemetry"):
        import nncf

    name = spec.inputs[0].name
    items = [{name: image.numpy()} for (image,) in images(spec)]
    whole = nncf.quantize(
        onnx.load(str(folder / "fp32.onnx")),
        nncf.Dataset(items),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(items),
    )
    onnx.save(whole, str(path))


def pt2e(dynamic: bool) -> Callable[[ModelSpec, Path, Path], None]:
    """Return a writer of programs that PT2E quantised."""

    def write(spec: ModelSpec, folder: Path, path: Path) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from executorch.exir import to_edge_transform_and_lower
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        network: nn.Module = models.build(spec).eval()
        feeds = images(spec)
        asked = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
        quantiser = XNNPACKQuantizer().set_global(asked)
        prepared = prepare_pt2e(torch.export.export(network, feeds[0]).module(), quantiser)
        for feed in feeds:
            prepared(*feed)
        program = torch.export.export(convert_pt2e(prepared), feeds[0])
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

    return write


def stock_executorch(spec: ModelSpec, folder: Path, path: Path) -> None:
    """Write the program of the stock recipe in fp32."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(models.build(spec).eval(), images(spec)[0])
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


STOCK: dict[str, dict[str, Callable[[ModelSpec, Path, Path], None]]] = {
    "onnx": {
        "quantize_static U8S8": static_onnx(activation_type="QUInt8", weight_type="QInt8"),
        "quantize_static S8S8": static_onnx(),
        "quantize_dynamic": dynamic_onnx,
        "NNCF": nncf_onnx,
    },
    "executorch": {
        "stock fp32": stock_executorch,
        "PT2E static": pt2e(dynamic=False),
        "PT2E dynamic": pt2e(dynamic=True),
    },
}


if __name__ == "__main__":
    main()
