"""`Artifact`: an exported model and all that is known about it (its manifest)."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from mvdeploy.records.category import Category
from mvdeploy.records.limits import Count, Filled, Number, Pixels, Size
from mvdeploy.records.parity import Verified
from mvdeploy.records.quantized import Quantized
from mvdeploy.records.spec import ModelSpec
from mvdeploy.records.tensor import TensorInfo

UNPLACED = "?"
"""Module of an operator of which the file does not say where it came from."""

PROBABILITIES = "classLabel_probs"
"""Output of a classifier in Core ML, as coremltools names it: softmax of the logits."""


def same_release(version: str, other: str) -> bool:
    """Whether two versions of a program are of one release, however each was built."""
    return version.partition("+")[0] == other.partition("+")[0]


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of the exported program and the module it came from.

    Attributes:
        name: unique in the program.
        type: the format's own name for it, such as ``Conv``.
        module: dotted path of the module whose forward made it; empty for the network itself,
            `UNPLACED` where that is not known.
        inputs: names of the tensors it reads, weights among them.
        outputs: names of the tensors it makes. Tensors tell what an engine made of the program
            when it fuses and renames operators.
        delegate: number of the delegate that it runs in, in the order in which the program calls
            them; None outside of delegates, and in formats that have none.
        category: of what it serves, where its module has none: of a residual addition the branch
            that it closes.
    """

    name: str
    type: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    delegate: Count | None = None
    category: Annotated[Category, Filled()] | None = None


@dataclasses.dataclass(frozen=True)
class PlacementRisk:
    """Operators that may not run on the Neural Engine. Predicted from the program, not measured.

    Attributes:
        rule: what speaks against it: ``rank``, ``transpose``, ``linear``, ``resize``,
            ``dynamic_shape`` or ``float32``.
        module: dotted path of the module that they came from.
        detail: what is wrong with them.
        operators: their names.
    """

    rule: str
    module: str
    detail: str
    operators: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Undelegated:
    """Operators that the engine runs one by one because no delegate takes them.

    Attributes:
        operator: their type.
        module: dotted path of the module that they came from.
        count: how many.
    """

    operator: str
    module: str
    count: Number


@dataclasses.dataclass(frozen=True)
class Delegation:
    """How much of a program runs in delegates.

    Attributes:
        delegates: number of delegates.
        delegated: operators in them.
        undelegated: the others.
    """

    delegates: Count
    delegated: Count
    undelegated: tuple[Undelegated, ...] = ()

    @property
    def full(self) -> bool:
        """Whether one delegate holds the whole program."""
        return self.delegates == 1 and not self.undelegated


@dataclasses.dataclass(frozen=True)
class ModuleInfo:
    """A module.

    Attributes:
        class_name: its class.
        category: that it or its nearest ancestor declares.
        declared: false when the category is from a table by class name, as for networks of other
            libraries.
    """

    class_name: str
    category: Annotated[Category, Filled()] | None
    declared: bool = True


@dataclasses.dataclass(frozen=True)
class PassReport:
    """What a pass did.

    Attributes:
        name: the pass.
        changed: one line for each change; empty when there was nothing to do.
        left: one line for each place that was left alone, with the reason.
        max_abs_difference: of the outputs before and after, on the pass's own check.
    """

    name: str
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    max_abs_difference: Size = 0.0


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the input tensor, in this order.

    Attributes:
        resize: height and width that the image is resized to.
        crop: height and width of the centre crop: the network's input. A smaller image is padded
            with black.
        interpolation: one of `mvdeploy.records.spec.INTERPOLATIONS`.
        channel_order: ``RGB`` or ``BGR``.
        scale: factor on the 0..255 values.
        mean: subtracted from each channel after scaling, in channel order.
        std: each channel is divided by it after that.
        fit: ``cover`` (the image keeps its proportions, and is as large as `resize` or larger on
            both sides) or ``stretch`` (it has exactly this size).
        rounding: whose is followed, of sizes, places and values: ``plain``; ``timm``, which
            rounds the place of the crop to even; or ``transformers``, whose filters work with
            weights of 16 bits.
    """

    resize: tuple[Pixels, Pixels]
    crop: tuple[Pixels, Pixels]
    interpolation: str = "bilinear"
    channel_order: str = "RGB"
    scale: Size = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: str = "cover"
    rounding: str = "plain"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported model. Saved as ``<file>.json`` beside the file it describes.

    Attributes:
        path: the file's name, relative to the manifest.
        sha256: of the file; of a folder, over the names and sha256 of its files.
        size_bytes: of the file.
        format: name of the export format.
        precision: name of a file in `mvdeploy.precisions`.
        spec: the network.
        passes: what was done to it before the export, in order.
        inputs: in order.
        outputs: in order.
        preprocessing: how images are fed.
        versions: the programs that made it.
        operators: every operator of the exported program, in order.
        modules: by dotted path.
        parameters: trainable numbers of the network before any pass.
        macs: multiply-accumulates of one inference, with its batch, by the true rule of
            docs/models.md; None if an operator has no rule.
        backend: what the program was lowered to; empty for formats without a choice.
        runs_on: what it takes to run it, such as ``an Apple device``; empty where an engine of the
            format is enough.
        delegation: how much of it runs in delegates; None for formats without them.
        placement: what may keep operators off the Neural Engine; None for formats that do not run
            there.
        twin: name of the same program with a tensor as its input, for measuring; empty for one that
            takes a tensor itself.
        categories: ids of the categories that its modules can have, with their titles, in the order
            of reports; empty in files of earlier versions, which have none but the usual five.
        weights_fingerprint: what the weights of the network are known by, before any pass; empty
            when that is not known, as in files of earlier versions.
        sources: files and folders that `spec` names, by the path it has, with the places where
            they were: relative to the manifest, then as an absolute path.
        read_from: of a file that others exported, what its modules are known from, in words;
            empty for files of mvdeploy's own. Modules that are in `modules` are known.
        fed_as: name of the file whose images are prepared in the same way, where that was taken
            over from it.
        uncounted: types of its operators whose work is not in `macs`.
        data: files beside it that hold its weights; their bytes and sha256 count with it.
        quantized: what is computed in whole numbers with which scales; None where nothing is, or
            weights alone.
        code_sha256: of the Python file that made the network, ``FILE.py``; empty where that is a
            library, and in files of earlier versions.
        verified: what its comparison with the network came to; None where nothing here runs it, and
            in files of earlier versions.
    """

    path: str
    sha256: str
    size_bytes: Count
    format: str
    precision: str
    spec: ModelSpec
    passes: tuple[PassReport, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preprocessing: Preprocessing
    versions: dict[str, str]
    operators: tuple[Operator, ...]
    modules: dict[str, ModuleInfo]
    parameters: Count
    macs: Count | None = None
    backend: str = ""
    runs_on: str = ""
    delegation: Delegation | None = None
    placement: tuple[PlacementRisk, ...] | None = None
    twin: str = ""
    categories: dict[str, str] = dataclasses.field(default_factory=dict)
    weights_fingerprint: str = ""
    sources: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    read_from: str = ""
    fed_as: str = ""
    uncounted: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    verified: Verified | None = None
    code_sha256: str = ""
    quantized: Quantized | None = None

    def category(self, module: str) -> Category | None:
        """Return the declared category of a module path, or None if nothing declares one."""
        info = self.modules.get(module)
        return info.category if info else None
