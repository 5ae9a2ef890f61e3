"""ONNX, by torch's exporter (torch.export based)."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import formats, plugins, precisions
from mvdeploy.errors import EngineError, MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.formats import Subject, Written, option
from mvdeploy.formats._failures import failed
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats._serving import spread
from mvdeploy.formats._tracing import free_batch, trace
from mvdeploy.quantization import CONVOLUTION, LINEAR, POINTWISE, Target
from mvdeploy.quiet import quiet
from mvdeploy.records import Artifact, Operator

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

    from mvdeploy.quantization.quantiser import Quantiser

CONTRIBUTED = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""

SUFFIX = ".onnx"
READS = (".onnx", ".ort")
PACKAGES = ("torch", "onnx", "onnxscript")
PRECISIONS = ("fp32",)
DYNAMIC_BATCH = True
MUTANTS = "mvdeploy.verify.mutations.onnx"

MODULE_KEY = "mvdeploy.module"
"""Node metadata: dotted path of the module that the node came from."""

OLDEST_OPSET = 18
"""The oldest operator set that torch's exporter writes without converting the model down."""

STANDARD, OWN = "standard", "onnxruntime"
"""Whose operators a file has: those of the ONNX standard, or also those of ONNX Runtime's own."""

_BEST_OWN = ("int8-dynamic", "int8-fast")
"""Precisions whose files have operators of ONNX Runtime's own where nothing else is asked for."""

_OWN_PRODUCTS = ("QLinearConv", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
"""By these they are told, of earlier versions too, whose manifests do not say it otherwise."""

_TARGETS = {
    # Pairs of QuantizeLinear and DequantizeLinear, as any runtime takes them.
    "int8": Target(unsigned=True, float_results=(LINEAR,)),
    "int8-fused": Target(unsigned=True, float_results=(LINEAR,), fused=("silu", "gelu")),
    "int8-dynamic": Target(unsigned=True),
    "int8-fast": Target(
        unsigned=True, others=("add", "mul", "cat", "silu"), float_results=(LINEAR,)
    ),
}

_NARROW = (POINTWISE, CONVOLUTION)
"""What has weights of 7 bits in operators of ONNX Runtime's own: on x86 without VNNI, its
convolutions add two products in 16 bits, which overflow with larger weights. Its linear layers can
be told not to."""

_NARROWED = ("int8", "int8-fast")
"""Precisions that this concerns."""

_FLOAT32 = ("aten.linalg_vector_norm.default", "aten.norm.ScalarOpt_dim")
"""What stays float32 in half precision: sums of squares, but for those that an operator of ONNX has
inside, which says itself in which type it adds."""

_LACKING = r"No ONNX function found for <OpOverload\(op='([\w.]+)'"

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about an ONNX file.

    Attributes:
        opset: version of the operator set; None for the exporter's default.
        with_nms: return detections instead of a detector's raw boxes and scores.
        full_range: weights of all convolutions have 8 bits, see `_NARROW`.
        operators: `STANDARD` or `OWN`; None for what is usual in the precision.
    """

    opset: int | None = option(
        None,
        "--opset",
        "Version of the operator set. [default: the exporter's]",
        metavar="N",
        read=plugins.whole_number,
    )
    with_nms: bool = option(
        False,
        "--with-nms",
        "Of a network that detects, return the detections: boxes decoded and suppressed (the "
        "operator NonMaxSuppression).",
    )
    full_range: bool = option(
        False,
        "--full-range",
        "In int8-fast, give weights of convolutions 8 bits rather than 7: more accurate, and wrong "
        "on x86 processors without VNNI.",
    )
    operators: str | None = option(
        None,
        "--operators",
        "Of the standard alone, for any engine; or also ONNX Runtime's own, which is faster there. "
        "[default: standard; for int8-dynamic and int8-fast onnxruntime]",
        choices=(STANDARD, OWN),
    )


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write an ONNX file that onnx.checker accepts, every node with its module path.

    Raises:
        UsageError: the exporter has no such opset.
        EngineError: the exporter or the checker failed, or a node cannot be placed.
    """
    import onnx

    from mvdeploy.formats.onnx import suppression

    check(options)
    if options.own.with_nms:
        suppression.demand(subject)
    try:
        with quiet(errors=True):
            model = subject.rewrite(_model(subject, options))
        if subject.dynamic:
            _demand_free(model.graph)
        modules = _modules(model.graph)
        if options.own.with_nms:
            _, _, height, width = map(int, subject.inputs[0].shape)
            suppression.add(model.graph, (height, width))
            modules += [""] * (len(model.graph.node) - len(modules))  # of the network as a whole
        _label(model, modules, subject.facts)
        onnx.checker.check_model(model, full_check=True)
    except MvdeployError:
        raise
    except Exception as error:
        raise failed("ONNX", error, subject, _LACKING) from error
    writing.fill(path, model.SerializeToString())
    contributed = any(node.domain == CONTRIBUTED for node in model.graph.node)
    return Written(
        tuple(
            Operator(
                node.name, node.op_type, module, tuple(filter(None, node.input)), tuple(node.output)
            )
            for node, module in zip(model.graph.node, modules, strict=True)
        ),
        backend=OWN if contributed else "",
        outputs=suppression.OUTPUTS if options.own.with_nms else None,
    )


def marks(options: formats.Options) -> tuple[str, ...]:
    """Return what the name of a file says of it."""
    nms = ("nms",) if options.own.with_nms else ()
    full = ("full-range",) if options.own.full_range and _is_narrowed(options) else ()
    unusual = _operators(options) != _usual_operators(options)
    operators = (_operators(options),) if unusual else ()
    precision = options.precision or PRECISIONS[0]
    return (precision, *full, *operators, *nms, *formats.kept(options))


def _operators(options: formats.Options) -> str:
    return options.own.operators or _usual_operators(options)


def _usual_operators(options: formats.Options) -> str:
    return OWN if options.precision in _BEST_OWN else STANDARD


def options_of(artifact: Artifact) -> Options:
    """Return the options that make a file like one that there is."""
    from mvdeploy.formats.onnx import suppression

    whole, nms = artifact.quantized, artifact.outputs == suppression.OUTPUTS
    kinds = {operator.type for operator in artifact.operators}
    own = artifact.backend == OWN or not kinds.isdisjoint(_OWN_PRODUCTS)
    narrowed = artifact.precision in _NARROWED and own
    full = narrowed and whole is not None and not whole.narrow
    operators = OWN if own else STANDARD if artifact.precision in _BEST_OWN else None
    return Options(with_nms=nms, full_range=full, operators=operators)


def read_file(path: Path) -> FileFacts:
    """Read an ONNX file that others exported, or one in ONNX Runtime's own format."""
    from mvdeploy.formats.onnx import reading

    return reading.read(path)


def self_contained(path: Path, copy: Path) -> None:
    """Write a file again with its weights in it."""
    import onnx

    onnx.save(onnx.load(str(path)), copy)


def holds(options: formats.Options) -> bool:
    """Say whether weights are looked for in a file: half precision hides a fault in one."""
    return precisions.get(str(options.precision)).halves


def held_weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every weight and constant that an operator of a file reads."""
    import hashlib

    import onnx

    graph = onnx.load(str(path)).graph
    read = {name for node in graph.node for name in node.input}
    return frozenset(
        hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).hexdigest()
        for tensor in graph.initializer
        if tensor.name in read
    )


def quantised(options: formats.Options) -> Target:
    """Return what is computed in whole numbers."""
    target = _TARGETS[str(options.precision)]
    if _is_narrowed(options) and not options.own.full_range:
        return dataclasses.replace(target, narrow=_NARROW)
    return target


def _is_narrowed(options: formats.Options) -> bool:
    return options.precision in _NARROWED and _operators(options) == OWN


def emulate(subject: Subject, options: formats.Options) -> None:
    """Have the program in whole numbers kept for the comparison with PyTorch."""
    try:
        with quiet(errors=True):
            if subject.quantiser is not None:
                _whole(subject, subject.quantiser, options)
    except MvdeployError:
        raise
    except Exception as error:
        raise failed("ONNX", error, subject, _LACKING) from error


def _model(subject: Subject, options: formats.Options) -> onnx.ModelProto:
    """Return a network as it is saved: in whole numbers, with operators of one engine's own."""
    from mvdeploy.formats.onnx import fastest, whole_numbers

    own = _operators(options) == OWN
    if subject.quantiser is None:
        model = _traced(subject, options)
    else:
        model = _whole(subject, subject.quantiser, options)
        whole_numbers.fused(model) if own else whole_numbers.standard(model)
    if own:
        fastest.rewrite(model)
    return model


def _whole(subject: Subject, quantiser: Quantiser, options: formats.Options) -> onnx.ModelProto:
    """Return the exporter's translation of a program in whole numbers."""
    floats = _functional(subject)
    translated = _translated(subject, options, subject.quantise(floats))
    # The exporter names the operators of the program anew, and the file's tensors after them.
    quantiser.emulate(floats, translated.exported_program)
    model: onnx.ModelProto = translated.model_proto
    return model


def _functional(subject: Subject) -> ExportedProgram:
    """Trace a network, and write it without operators that change what they are given."""
    functional: ExportedProgram = trace(subject).run_decompositions({})
    return functional


def _halved(subject: Subject) -> ExportedProgram:
    """Trace a network, and have it computed in half precision."""
    from mvdeploy import rewritings
    from mvdeploy.formats import _halving

    traced = trace(subject)
    _halving.prepare(traced, _FLOAT32)
    return _halving.halve(rewritings.apply(traced, ("small_terms",)))


def _translated(subject: Subject, options: formats.Options, program: Any, **dynamic: Any) -> Any:
    """Return the exporter's translation of a network or a traced program."""
    import torch

    from mvdeploy.formats.onnx import whole_numbers

    scheme = subject.quantiser.scheme if subject.quantiser is not None else None
    found = scheme is not None and scheme.dynamic
    translated = torch.onnx.export(
        program,
        subject.examples,
        dynamo=True,
        input_names=[tensor.name for tensor in subject.inputs],
        output_names=[tensor.name for tensor in subject.outputs],
        opset_version=options.own.opset,
        custom_translation_table=whole_numbers.found_scales() if found else None,
        verbose=False,
        **dynamic,
    )
    if translated is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return translated


def _traced(subject: Subject, options: formats.Options) -> onnx.ModelProto:
    import torch

    from mvdeploy import rewritings
    from mvdeploy.rewritings import small_terms

    free = free_batch(subject)
    if subject.halves:
        halved: onnx.ModelProto = _translated(subject, options, _halved(subject)).model_proto
        return halved
    translated = _translated(subject, options, subject.network, dynamic_shapes=free)
    seen = translated.exported_program
    if seen is not None and small_terms.concerns(seen):
        traced = torch.export.export(subject.network, subject.examples, dynamic_shapes=free)
        again = rewritings.apply(traced, ("small_terms",))
        translated = _translated(subject, options, again)
    model: onnx.ModelProto = translated.model_proto
    return model


def _demand_free(graph: onnx.GraphProto) -> None:
    """Refuse a program for which the exporter fixed the number of images.

    Raises:
        EngineError: it is fixed.
    """
    for tensor in graph.input:
        dimensions = tensor.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].dim_param:
            raise EngineError(
                f"The exporter fixed the number of images at {dimensions[0].dim_value}.",
                "Export it for so many images with --batch.",
            )


def check(options: formats.Options) -> None:
    """Refuse an opset that the exporter cannot write, and options of another precision.

    Raises:
        UsageError: names what can be given.
    """
    if options.own.full_range and not _is_narrowed(options):
        raise UsageError(
            f"--full-range is for int8-fast, and the precision is {options.precision}.",
            "Leave it out, or give --precision int8-fast alone.",
        )
    if options.precision == "int8-dynamic" and _operators(options) == STANDARD:
        raise UsageError(
            "int8-dynamic is written with operators of ONNX Runtime's own alone.",
            "Leave out --operators, or give --precision int8.",
        )
    opset = options.own.opset
    if opset is None:
        return
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UsageError(
            f"ONNX files cannot be written with opset {opset}.",
            f"Give one from {OLDEST_OPSET} to {newest} after --opset, or leave it out.",
        )


def _modules(graph: onnx.GraphProto) -> list[str]:
    """Return the module path of each node, from the exporter's scopes.

    A node that an optimiser added without scopes belongs where its result goes, or else where its
    input comes from.
    """
    scopes = [_scope(node) for node in graph.node]
    spread(scopes, ((node.input, node.output) for node in graph.node))
    missing = [node.name for node, scope in zip(graph.node, scopes, strict=True) if scope is None]
    if missing:
        raise EngineError(
            f"The exported node '{missing[0]}' cannot be traced to a module.",
            "Report the network that shows it.",
        )
    return [scope or "" for scope in scopes]


def _scope(node: onnx.NodeProto) -> str | None:
    for entry in node.metadata_props:
        if entry.key == _SCOPES_KEY:
            # ['', 'layer_1', 'layer_1.0', 'add']: modules from the outside in, then the operator.
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return None


def _label(model: onnx.ModelProto, modules: list[str], facts: dict[str, str]) -> None:
    """Replace the exporter's notes (among them paths of the machine) by the module paths."""
    for node, module in zip(model.graph.node, modules, strict=True):
        del node.metadata_props[:]
        node.metadata_props.add(key=MODULE_KEY, value=module)
    graph = model.graph
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.name = facts["mvdeploy.model"]
    for key, fact in facts.items():
        model.metadata_props.add(key=key, value=fact)
