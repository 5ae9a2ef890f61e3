"""`ModelSpec`: everything that decides which network is built."""

from __future__ import annotations

import dataclasses
import math
import re

from mvdeploy import files
from mvdeploy.errors import UsageError
from mvdeploy.records.limits import Count, Length, Number, Pixels, Positive, Size
from mvdeploy.records.tensor import TensorInfo

IMAGE = "image"
"""Name of the input of networks that take nothing but images."""

_NUMBER = r"[0-9]{1,9}"
_PATCH = re.compile(rf"({_NUMBER})(?:x({_NUMBER}))?")


@dataclasses.dataclass(frozen=True)
class PatchSize:
    """Height and width, in pixels of the feature map, of the patches one stage unfolds into."""

    height: Pixels
    width: Pixels

    def __str__(self) -> str:
        if self.height == self.width:
            return str(self.height)
        return f"{self.height}x{self.width}"


Channels = tuple[float, float, float]
"""A number for each channel."""

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Filters that images are resized with, in the order of Pillow's numbers for them."""

CHANNEL_ORDERS = ("RGB", "BGR")


@dataclasses.dataclass(frozen=True)
class ImageRule:
    """How the images of a checkpoint are prepared, whatever their size.

    Attributes:
        crop_share: side of the centre crop as a share of that of the resized image.
        margin: pixels by which the resized image is larger than the crop, besides.
        interpolation: one of `INTERPOLATIONS`.
        scale: factor on the 0..255 values.
        fit: ``cover`` (both sides reach the resized size, proportions kept), ``shortest`` (the
            shorter side of the image reaches the shorter one) or ``stretch`` (proportions change).
        mean: subtracted from each channel after scaling, in channel order.
        std: each channel is divided by it after that.
        rounding: whose; see `mvdeploy.records.Preprocessing`.
    """

    crop_share: Positive = 1.0
    margin: Count = 32
    interpolation: str = "bilinear"
    scale: Size = 1 / 255
    fit: str = "cover"
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    rounding: str = "plain"

    def resized(self, side: int) -> int:
        """Return what a side is resized to, in pixels, when `side` is left after the crop."""
        return max(1, math.floor(side / self.crop_share) + self.margin)


@dataclasses.dataclass(frozen=True)
class ImageChanges:
    """What is asked for instead of a network's own preprocessing; None for its own.

    Attributes:
        mean: of each channel in channel order, for values that were scaled.
        std: of each channel likewise.
        crop: share of the resized image's side that is left after the crop.
        interpolation: one of `INTERPOLATIONS`.
        channel_order: one of `CHANNEL_ORDERS`.
    """

    mean: Channels | None = None
    std: Channels | None = None
    crop: Positive | None = None
    interpolation: str | None = None
    channel_order: str | None = None


@dataclasses.dataclass(frozen=True)
class FileInputs:
    """What a user says of the inputs of a file.

    Attributes:
        shapes: by name of the input, for those with free dimensions.
        values: least and largest of the values of an input that is no image, by name.
        images: how images are fed, to a file of which that is not known.
    """

    shapes: dict[str, tuple[Length, ...]] = dataclasses.field(default_factory=dict)
    values: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    images: ImageChanges = ImageChanges()


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A checkpoint: where it was, what it contained and what it is to be fed.

    Attributes:
        path: a file, or a folder as transformers saves it.
        sha256: of the file; of a folder, over the names and sha256 of the files that are read.
        layout: whose names its tensors have: ``cvnets``, ``timm``, …; empty for the network's own.
        channel_order: ``RGB`` or ``BGR``; empty where nothing says how its images are fed, and what
            is usual for the network holds.
        images: the rest of the preprocessing.
        key: where in the file they were: entry and prefix, ``state_dict.model``; empty for all of
            it.
        notes: what was left aside or changed, in words.
    """

    path: str
    sha256: str
    layout: str
    channel_order: str
    images: ImageRule = ImageRule()
    key: str = ""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file and what was taken of it: ``a.ckpt, entry 'model', layout timm``."""
        facts = [self.path]
        facts += [f"entry '{self.key}'"] if self.key else []
        facts += [f"layout {self.layout}"] if self.layout else []
        return "; ".join((", ".join(facts), *self.notes))


Arguments = tuple[tuple[str, str], ...]
"""Keywords and their values, as text."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Which network: the same spec and the same versions give the same network.

    Attributes:
        model: a name such as ``mobilevit_xs``; empty for a file whose network is not known.
        patches: one patch size for each stage that has them; empty for networks without patches.
        image_size: height and width of the input image, pixels.
        task: name of a file in `mvdeploy.tasks`, such as ``classify``.
        num_classes: outputs of the classifier.
        batch: images in one inference.
        weights: the checkpoint, or None for seeded random weights that carry signal.
        seed: seed of those random weights; None when the network comes with weights of its own.
        images: what is changed in its preprocessing.
        own_inputs: what the network takes, with `batch` in the shapes; empty for one image.
        own_outputs: what it returns, likewise, where its task does not say.
        arguments: keywords for what makes the network, and their values as they are typed.
        calm: its random weights pass noise on as trained ones do, instead of amplifying it.

    Example:
        >>> import mvdeploy
        >>> spec = mvdeploy.make_spec("mobilevit_xs", patches=mvdeploy.parse_patches("8,4,2"))
        >>> spec.label, spec.inputs[0].shape
        ('mobilevit_xs 8,4,2', (1, 3, 256, 256))
    """

    model: str
    patches: tuple[PatchSize, ...]
    image_size: tuple[Pixels, Pixels]
    task: str = "classify"
    num_classes: Count = 1000
    batch: Number = 1
    weights: WeightsFile | None = None
    seed: int | None = 0
    images: ImageChanges = ImageChanges()
    own_inputs: tuple[TensorInfo, ...] = ()
    own_outputs: tuple[TensorInfo, ...] = ()
    arguments: Arguments = ()
    calm: bool = False

    @property
    def is_random(self) -> bool:
        """Whether its weights are random, so that what it says means nothing."""
        return bool(self.model) and self.weights is None and self.seed is not None

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What the network takes, in order, with the batch of one inference."""
        image = TensorInfo(IMAGE, (self.batch, 3, *self.image_size), "float32", "NCHW")
        return self.own_inputs or (image,)

    def with_batch(self, batch: int) -> ModelSpec:
        """Return the same network, fed another number of images or of what it takes."""

        def sized(tensors: tuple[TensorInfo, ...]) -> tuple[TensorInfo, ...]:
            return tuple(tensor.with_batch(self.batch, batch) for tensor in tensors)

        return dataclasses.replace(
            self,
            batch=batch,
            own_inputs=sized(self.own_inputs),
            own_outputs=sized(self.own_outputs),
        )

    @property
    def patches_text(self) -> str:
        """The patch sizes as they are typed: ``8,4,2``."""
        return ",".join(map(str, self.patches))

    @property
    def label(self) -> str:
        """A short name for tables: ``mobilevit_xs 8,4,2``, ``timm:deit_tiny depth=6``.

        With a task that is not the usual.
        """
        calm = "calm" if self.calm else ""
        words = (self.model, self.patches_text, *self._assigned, self._other_task, calm)
        return " ".join(filter(None, words))

    @property
    def _assigned(self) -> tuple[str, ...]:
        return tuple(f"{name}={value}" for name, value in self.arguments)

    @property
    def _other_task(self) -> str:
        """The task, where it is another than most networks have and its outputs do not tell."""
        return "" if self.own_outputs or self.task == ModelSpec.task else self.task

    @property
    def slug(self) -> str:
        """The spec as part of a file name: ``mobilevit_xs-p8-4-2-256``."""
        height, width = self.image_size
        size = str(height) if height == width else f"{height}x{width}"
        sizes = [size] if any(tensor.is_image for tensor in self.inputs) else []
        patches = [f"p{self.patches_text.replace(',', '-')}"] if self.patches else []
        words = " ".join((self.model, *self._assigned))
        name = files.short(re.sub(r"[^A-Za-z0-9._]+", "-", words))
        calm = "calm" if self.calm else ""
        return "-".join(filter(None, (name, self._other_task, calm, *patches, *sizes)))


def parse_patches(text: str) -> tuple[PatchSize, ...]:
    """Read per-stage patch sizes: ``2,2,2``, ``8,4,2`` or ``4x2,2,2`` (height x width).

    Raises:
        UsageError: an entry is no positive whole number and no ``HxW`` pair of them.

    Example:
        >>> import mvdeploy
        >>> mvdeploy.parse_patches("4x2,2,2")[0]
        PatchSize(height=4, width=2)
    """
    sizes = []
    for entry in text.split(","):
        match = _PATCH.fullmatch(entry.strip())
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if height < 1 or width < 1:
            raise UsageError(
                f"'{text}' is no list of patch sizes: '{entry}' is not a positive whole number.",
                "Give one size for each stage, as in 2,2,2 or 8,4,2 or 4x2,2,2 (height x width).",
            )
        sizes.append(PatchSize(height, width))
    return tuple(sizes)


def parse_image_size(text: str) -> tuple[int, int]:
    """Read an image size in pixels: ``256``, or height and width as in ``256,320``.

    Raises:
        UsageError: not one or two positive whole numbers.
    """
    parts = re.split(r"[,x]", text)
    if len(parts) > 2 or not all(re.fullmatch(_NUMBER, p.strip()) and int(p) > 0 for p in parts):
        raise UsageError(
            f"'{text}' is no image size.",
            "Give one number of pixels, as in 256, or height and width, as in 256,320.",
        )
    return int(parts[0]), int(parts[-1])


def parse_arguments(texts: tuple[str, ...]) -> Arguments:
    """Read keywords with their values: ``embed_dim=256``, ``depths=2,2,6,2``.

    Raises:
        UsageError: one has no name or no value, or is there twice.
    """
    arguments: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.strip().isidentifier() or not equals or not value.strip():
            raise UsageError(
                f"'{text}' is no keyword with its value.",
                "Give both, as in --model-arg embed_dim=256 or --model-arg depths=2,2,6,2.",
            )
        if name.strip() in arguments:
            raise UsageError(f"--model-arg {name.strip()} is given twice.", "Leave one out.")
        arguments[name.strip()] = value.strip()
    return tuple(arguments.items())


def parse_channels(text: str) -> Channels:
    """Read a number for each channel: ``0.485,0.456,0.406``, or ``0.5`` for all three.

    Raises:
        UsageError: not one or three finite numbers.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"'{text}' is not a number for each channel.",
            "Give three numbers, as in 0.485,0.456,0.406, or one for all.",
        )
    return numbers[0], numbers[1], numbers[2]
