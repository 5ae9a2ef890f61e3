"""`mvdeploy.export`: a network → a file that computes the same."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mvdeploy import formats, passes
from mvdeploy.api import _asked, _html
from mvdeploy.api._calls import public
from mvdeploy.api._progress import Progress, steps
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.pipeline import kept_exports, places
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Artifact, ModelSpec, Parity
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.models.zoo.held import Held
    from mvdeploy.pipeline import export as pipeline


@dataclasses.dataclass(frozen=True, repr=False)
class Exported:
    """A file that was exported. In a notebook it shows what it holds and how exact it is.

    Attributes:
        path: the file; its manifest lies beside it.
        artifact: the manifest: inputs and outputs with shapes, operators with their modules.
        parity: how it was held against PyTorch; None when nothing of this machine can run it.
        kept: whether it was made and verified by an earlier call.
        twin: of a program that takes images, the same one with a tensor as its input.

    Example:
        >>> import mvdeploy
        >>> exported = mvdeploy.export("yardstick", "net.onnx")
        >>> exported.artifact.inputs[0].shape
        (1, 3, 56, 56)
        >>> exported.parity.passed
        True
    """

    path: Path
    artifact: Artifact
    parity: Parity | None
    kept: bool = False
    twin: Exported | None = None
    _held: tuple[Held, ...] = ()
    """Kept with it, so that what a device computes can be held against the network."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        judged = "not verified here" if self.parity is None else "verified"
        size = f"{self.artifact.size_bytes / 1e6:.1f} MB"
        return f"<Exported {clean(str(self.path))}: {self.artifact.precision}, {size}, {judged}>"

    def _repr_html_(self) -> str:
        artifact = self.artifact
        facts = {
            "network": artifact.spec.label,
            "format": f"{artifact.format}, {artifact.precision}",
            "size, MB": f"{artifact.size_bytes / 1e6:.1f}",
            "parameters": f"{artifact.parameters:,}",
            "MACs, M": f"{artifact.macs / 1e6:,.1f}" if artifact.macs else "",
            "takes": "; ".join(_tensor(tensor) for tensor in artifact.inputs),
            "returns": "; ".join(_tensor(tensor) for tensor in artifact.outputs),
        }
        if any(tensor.is_image for tensor in artifact.spec.inputs):
            facts["fed"] = feeding.describe(artifact.preprocessing)
        rows = [(name, value) for name, value in facts.items() if value]
        return _html.paragraphs((self._verdict,)) + _html.table(("", str(self.path)), rows)

    @property
    def _verdict(self) -> str:
        if self.parity is None:
            return f"Not verified here: runs on {self.artifact.runs_on}."
        worst = self.parity.worst
        snr = "identical" if worst.snr_db is None else f"SNR {worst.snr_db:.0f} dB"
        return (
            f"Computes what PyTorch does on {len(self.parity.inputs)} inputs: max abs "
            f"{worst.max_abs:.1e}, {snr} (demanded: {self.parity.demand})."
        )


def _tensor(tensor: Any) -> str:
    return f"{tensor.name} ({', '.join(map(str, tensor.shape))}) {tensor.dtype}"


@public
def export(
    network: str | nn.Module | ModelSpec,
    path: str | os.PathLike[str] | None = None,
    *,
    format: str = "onnx",
    precision: str | None = None,
    example: Tensor | Sequence[Tensor] | None = None,
    patches: Any = None,
    image_size: int | tuple[int, int] | None = None,
    batch: int | Literal["dynamic"] | None = None,
    weights: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    seed: int = 0,
    formulation: str | None = None,
    without_pass: str | Sequence[str] = (),
    keep_float: str | Sequence[str] = (),
    calibrate: str | os.PathLike[str] | int | None = None,
    calibration_method: str | None = None,
    percentile: float | None = None,
    photograph: str | os.PathLike[str] | None = None,
    cache: bool = True,
    progress: Progress = None,
    **options: Any,
) -> Exported:
    """Build a network, rewrite it, export it, and verify the file against PyTorch.

    The file appears only when it computes what the network does. An ``nn.Module`` is copied and
    stays as it is; its copy is exported in eval mode, and is never kept for later calls.

    Args:
        network: a name, as ``mvdeploy models`` lists it, ``timm:NAME``, ``hf:TYPE`` or
            ``FILE.py:FACTORY``; an ``nn.Module`` in float32 on the processor; or what
            `mvdeploy.make_spec` returns, for what has no keyword here.
        path: file, or folder in which the file is named after the network; None for the current
            folder.
        format: ``onnx``, ``executorch``, ``litert``, ``coreml`` or ``pytorch``.
        precision: such as ``fp32``, ``fp16`` or ``int8``; None for the format's usual one.
        example: what an ``nn.Module`` takes: a tensor, or a tuple of as many as its forward has.
            Images are float32 of the shape (N, 3, H, W). Values of others are their range.
        patches: patch size of each stage, pixels of the feature map: ``(8, 4, 2)``, or with height
            and width ``((4, 2), 2, 2)``.
        image_size: pixels: one number, or height and width.
        batch: images in one inference, or ``"dynamic"`` for any number.
        weights: a checkpoint; None for seeded random weights.
        weights_key: which of its copies, if several fit.
        seed: of random weights.
        formulation: how the network is written; None for what suits the format.
        without_pass: passes that are left out.
        keep_float: modules, or patterns of them, that stay in float in programs of whole numbers.
        calibrate: folder of images that scales of whole numbers are taken from, or how many
            variants of a shipped photograph.
        calibration_method: ``percentile``, ``entropy`` or ``min-max``.
        percentile: share of the numbers that a range holds, percent.
        photograph: an image that the export is verified on, among other inputs.
        cache: take an export that was kept, and keep this one.
        progress: True for a bar, or a function that is told of every step.
        options: the format's own, such as ``opset=18`` or ``deployment_target="iOS17"``; those of
            ``mvdeploy export --help``.

    Returns:
        The file, its manifest and its check.

    Raises:
        UsageError: something that was given cannot be used; the message says what to give.
        CheckFailed: the export does not compute what the network does.
        EngineError: the exporter or the engine failed.

    Example:
        >>> import mvdeploy, torch
        >>> mvdeploy.export("yardstick", format="pytorch", image_size=64).path.name
        'yardstick-64-fp32.pt2'
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Flatten())
        >>> mvdeploy.export(net, "mine.onnx", example=torch.rand(1, 3, 32, 32), opset=20)
        <Exported mine.onnx: fp32, 0.0 MB, verified>
    """
    formats.check(format, precision)
    if formulation is not None:
        passes.check(formulation)
    asked = _asked.Networks(example, patches, image_size, weights, weights_key, seed)
    given = _asked.subjects([network], asked)
    if len(given.found) != 1:
        raise UsageError(
            f"One network is exported at a time, and these are {len(given.found)}.",
            "Give one configuration of patches.",
        )
    (spec,) = given.found
    if isinstance(spec, Path):
        raise UsageError(f"{spec} is an exported file already.", "Give a network.")
    spec, dynamic = _batched(spec, batch)
    chosen = formats.options(
        format,
        _own(format, options),
        precision=precision,
        formulation=formulation,
        dynamic_batch=dynamic,
        keep_float=_asked.listed(keep_float),
    )
    formats.check_options(format, chosen)
    place = places.place(Path(path) if path is not None else Path(), spec, format, chosen)
    wish = _asked.wish(calibrate, calibration_method, percentile)
    left_out = passes.known(_asked.listed(without_pass))
    shelf = kept_exports.usual() if cache else None
    written = 1 if formats.twin(format, chosen) is None else 2
    with steps(progress, 1 + 2 * written) as announce:
        builder = Builder(spec, _asked.path(photograph), announce, left_out, wish, shelf)
        return _returned(builder.export(format, place, chosen), given.held)


def _returned(made: pipeline.Exported, held: tuple[Held, ...]) -> Exported:
    twin = _returned(made.twin, held) if made.twin is not None else None
    return Exported(made.path, made.artifact, made.parity, made.kept, twin, held)


def _batched(spec: ModelSpec, batch: int | str | None) -> tuple[ModelSpec, bool]:
    """Return a network with as many images as are asked for, and whether it takes any number.

    Raises:
        UsageError: that is no number.
    """
    if batch is None:
        return spec, False
    if batch == "dynamic":
        return spec, True
    if not isinstance(batch, int) or batch < 1:
        raise UsageError(f"{batch!r} is no number of images.", "Give batch=1 or batch='dynamic'.")
    return spec.with_batch(batch), False


def _own(format_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of formats that were given as keywords.

    Raises:
        UsageError: there is none of that name.
    """
    known = {one.option.name: one.option for one in formats.declared()}
    noun = f"keyword of export, or option of the format {format_name},"
    return {name: _asked.chosen(known, name, value, noun) for name, value in given.items()}
