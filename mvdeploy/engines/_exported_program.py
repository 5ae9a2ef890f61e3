"""Read a program of torch.export without running anything that its file says.

`torch.export.load` is not made for files of others: it unpickles objects, evaluates the expressions
of sizes, looks operators up by any dotted name, writes names from the file into Python code that it
runs, and loads compiled libraries. So the archive is looked through first, with torch's own reader
of archives, and a program is read only if it consists of tensors and of operators of torch.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import UsageError, reason
from mvdeploy.files import archives, reading
from mvdeploy.quiet import quiet

if TYPE_CHECKING:
    from torch import fx
    from torch.export import ExportedProgram

_SPACES = ("aten", "prims", "quantized_decomposed", "torchvision")
_ON_FILES = ("from_file", "_from_file", "save")
"""Operators of torch that read or write files."""
_OF_GRAPHS = (
    *("cond", "map_impl", "scan", "while_loop", "associative_scan", "out_dtype"),
    *("invoke_subgraph", "wrap_with_set_grad_enabled", "wrap_with_autocast", "flex_attention"),
)
_OF_SIZES = {
    "_operator": "eq ne le ge lt gt neg pos mul add sub floordiv mod pow truediv and_ or_ lshift"
    " rshift getitem",
    "math": "trunc ceil floor",
    "torch": "sym_not sym_int sym_float sym_ite sym_max sym_min sym_sqrt",
}
_PLAIN_OPERATORS = {f"{m}.{name}" for m, names in _OF_SIZES.items() for name in names.split()}

_FUNCTIONS = {
    *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt"),
    *("FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv"),
    *("IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt"),
    *("RoundToInt", "RoundDecimal", "ToFloat", "Identity", "Max", "Min", "floor", "ceiling"),
    *("Abs", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Add", "Mul", "Pow"),
    *("Integer", "Rational", "Equality", "Unequality", "StrictLessThan", "StrictGreaterThan"),
    *("LessThan", "GreaterThan"),
}
"""What expressions of sizes may call."""
_SYMBOL = re.compile(r"[a-z]{1,4}_?\d{1,6}|oo|int_oo|True|False", re.ASCII)
_DIGITS = re.compile(r"-?[\d.]{1,40}(e[-+]?\d{1,3})?", re.ASCII)
_POWERS = ("Pow", "PowByNatural", "FloatPow")
_LONGEST = 2000  # characters of an expression
_LARGEST = 2**63
_HIGHEST_POWER = 8

_CONTAINERS = {
    f"{module}.{name}"
    for module, names in {
        "builtins": ("tuple", "list", "dict", "NoneType"),
        "collections": ("OrderedDict", "namedtuple", "deque"),
        "torch.fx.immutable_collections": ("immutable_list", "immutable_dict"),
    }.items()
    for name in names
}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,500}", re.ASCII)
_TEXTS = (
    *("as_string", "as_strings", "stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"),
    *("custom", "from_node"),
)
"""Texts in a program that stay such: arguments, and what is said of an operator."""
_DEEPEST = 200

_TRUSTED = (
    "If you trust it, export it again as a network of your own: mvdeploy export FILE.py:FACTORY."
)


class _RefusedError(Exception):
    """What is in a program that is not read, in words that follow 'it holds'."""


def load(path: Path) -> ExportedProgram:
    """Read a program.

    Its guards, which are Python code, are not for running: give ``module(check_guards=False)``.

    Raises:
        UsageError: it is none, is damaged, or holds more than tensors and operators of torch.
    """
    import torch
    from torch.export.pt2_archive._package import load_pt2

    reading.demand_regular(path, reading.WEIGHTS, "a program")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise _damaged(path, "it is no archive")
    try:
        if "serialized_exported_program.json" in archives.check(path):
            raise _damaged(path, "torch 2.7 or earlier wrote it")
        with quiet(errors=True):
            _check(torch._C.PyTorchFileReader(str(path)), path)
            program: ExportedProgram = load_pt2(str(path)).exported_programs["model"]
    except UsageError:
        raise
    except _RefusedError as error:
        raise UsageError(
            f"{path} is refused: it holds {error}, and reading that could run any code.", _TRUSTED
        ) from error
    except Exception as error:  # whatever the archive, the schema or torch says
        raise _damaged(path, reason(error)) from error
    return program


def graph_of(program: ExportedProgram) -> fx.GraphModule:
    """Return a program as a module that runs; without its guards, which would be run as code."""
    module: Any = program.module(check_guards=False)
    return module  # type: ignore[no-any-return]


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{path} is no program of torch.export, or is damaged ({reason}).",
        "Save it with torch.export.save, by the version of torch that is installed here.",
    )


def _check(archive: Any, path: Path) -> None:
    """Look through an archive of torch.

    Raises:
        _RefusedError: it holds something that could run code.
        UsageError: it is of an earlier layout, holds several programs, or tensors without content.
        Exception: it is damaged.
    """
    records: list[str] = archive.get_all_records()
    if len({record.casefold() for record in records}) < len(records):
        raise _damaged(path, "it holds two files of one name")  # readers differ in which they take
    if "archive_format" not in records:
        raise _damaged(path, "it is not laid out as torch 2.8 and later do")
    sizes = sum(archive.get_record_size(record) for record in records)
    reading.demand_size(
        f"{path} unpacks to",
        sizes,
        archives.unpacked_limit(path.stat().st_size),
        "a program of its size",
    )
    compiled = next((name for name in records if name.startswith("data/aotinductor/")), None)
    if compiled is not None:
        raise _RefusedError(f"compiled code ({compiled})")
    models = [name for name in records if name.startswith("models/")]
    if models != ["models/model.json"]:
        raise _damaged(path, f"it holds the programs {', '.join(models) or '(none)'}")
    _check_program(_json(archive, "models/model.json"))
    _check_pickle(archive, "data/sample_inputs/model.pt")
    for kind in ("weights", "constants"):
        if f"data/{kind}/model.pt" in records:
            _check_pickle(archive, f"data/{kind}/model.pt")
        else:
            _check_payload(archive, kind)


def _json(archive: Any, name: str) -> Any:
    return json.loads(archive.get_record(name).decode())


def _check_payload(archive: Any, kind: str) -> None:
    for name, held in _json(archive, f"data/{kind}/model_{kind}_config.json")["config"].items():
        _check_word("config", name)
        record = f"data/{kind}/{held['path_name']}"
        if held["path_name"].startswith(("custom_obj_", "opaque_obj_")):
            raise _RefusedError(f"an object that is no tensor ({name})")
        if held.get("use_pickle"):
            _check_pickle(archive, record)
        elif not archive.get_record_size(record):
            sizes = [size.get("as_int", 1) for size in held["tensor_meta"]["sizes"]]
            if math.prod(sizes):
                raise ValueError(f"the tensor {name} has no content")


def _check_pickle(archive: Any, record: str) -> None:
    """Refuse a pickle of more than tensors: torch would read it by running it."""
    import torch

    held = archive.get_record(record)
    if not held:
        return
    try:
        read = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the pickle makes its reader run into
        raise _RefusedError(f"more than tensors in {record}") from error
    if not isinstance(read, torch.Tensor | tuple | dict):
        raise ValueError(f"{record} holds no tensors")


def _check_program(program: Any) -> None:
    for key, value in _entries(program):
        check = _CHECKS.get(key, _check_word)
        check(key, value)


def _entries(whole: Any) -> Iterator[tuple[str, Any]]:
    """Yield every value in a program that is no container, with the key it is under."""
    waiting: list[tuple[str, Any, int]] = [("", whole, 0)]
    while waiting:
        key, held, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(held, dict):
            for name, value in held.items():
                yield "", name
                waiting.append((name, value, depth + 1))
        elif isinstance(held, list):
            waiting.extend((key, value, depth + 1) for value in held)
        else:
            yield key, held


def _check_word(key: str, value: Any) -> None:
    """Refuse text that would end the place which it has in code."""
    if isinstance(value, str) and (not value.isprintable() or set(value) & set("\"'\\{}#;")):
        raise _RefusedError(f"text in place of a name ({_shown(value)})")


def _check_name(key: str, value: Any) -> None:
    if value and not _IDENTIFIER.fullmatch(value):
        raise _RefusedError(f"code in place of a name ({_shown(value)})")


def _check_operator(key: str, target: Any) -> None:
    """Refuse an operator that is none of torch's.

    Raises:
        _RefusedError: names it.
    """
    import torch

    if target in _PLAIN_OPERATORS:
        return
    top, _, rest = target.partition(".ops.")
    names = rest.split(".")
    if top == "torch" and names[0] == "higher_order" and len(names) == 2:
        if names[1] in _OF_GRAPHS:
            return
    elif top == "torch" and names[0] in _SPACES and len(names) == 3 and names[1] not in _ON_FILES:
        found: Any = torch.ops
        for name in names:
            found = getattr(found, name, None)
        is_operator = isinstance(found, torch._ops.OpOverload)
        qualified = f"{names[0]}::{names[1]}" + f".{names[2]}".removesuffix(".default")
        if is_operator and torch._C._dispatch_has_kernel(qualified):
            return
    raise _RefusedError(f"a call of {_shown(target)}, which is no operator of torch")


def _check_expression(key: str, text: Any) -> None:
    """Refuse an expression of sizes that is more than arithmetic: torch evaluates it."""
    try:
        tree = ast.parse(text[: _LONGEST + 1].strip(), mode="eval").body
        powers = sum(
            isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in _POWERS)
            for node in ast.walk(tree)
        )
        good = len(text) <= _LONGEST and powers <= 1 and _is_arithmetic(tree)
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        good = False
    if not good:
        raise _RefusedError(f"code in place of a size ({_shown(text)})")


def _is_arithmetic(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int() | float() as value):
            return abs(value) < _LARGEST
        case ast.Name(id=name):
            return _SYMBOL.fullmatch(name) is not None
        case ast.UnaryOp(operand=operand):
            return _is_arithmetic(operand)
        case ast.BinOp(left=left, op=kind, right=right):
            small = not isinstance(kind, ast.Pow) or _is_small(right)
            return small and _is_arithmetic(left) and _is_arithmetic(right)
        case ast.Compare(left=left, comparators=others):
            return all(map(_is_arithmetic, (left, *others)))
        case ast.Call(
            func=ast.Name(id="Symbol" | "Float"), args=[ast.Constant(value=str() as name)]
        ):
            flags = (keyword.value for keyword in node.keywords)
            plain = _SYMBOL.fullmatch(name) or _DIGITS.fullmatch(name)
            return bool(plain) and all(isinstance(flag, ast.Constant) for flag in flags)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            small = name not in _POWERS or _is_small(arguments[-1])
            return small and all(map(_is_arithmetic, arguments))
    return False


def _is_small(exponent: ast.expr) -> bool:
    match exponent:
        case ast.Call(func=ast.Name(id="Integer"), args=[inner], keywords=[]):
            return _is_small(inner)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _is_small(inner)
        case ast.Constant(value=int() as value):
            return abs(value) <= _HIGHEST_POWER
    return False


def _check_tree(key: str, text: Any) -> None:
    """Refuse a description of inputs or outputs that names other than plain containers."""
    if not text:
        return
    _, tree = json.loads(text)
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        kind, context = node["type"], node["context"]
        waiting.extend(node["children_spec"])
        if kind is not None and kind not in _CONTAINERS:
            raise _RefusedError(f"inputs or outputs of the type {_shown(str(kind))}")
        if isinstance(context, str) and kind != "collections.namedtuple":
            json.loads(context, object_hook=_refuse_object)
    if key == "in_spec" and len(children := tree["children_spec"]) == 2:
        named = children[1]
        if named["type"] == "builtins.dict":
            for name in json.loads(named["context"]):  # written into code as arguments
                _check_name("name", str(name))


def _refuse_object(held: dict[str, Any]) -> None:
    """Refuse what stands for an object of a module, which would be imported."""
    raise _RefusedError(f"inputs or outputs named by {_shown(str(held))}")


def _check_nothing(key: str, value: Any) -> None:
    """Take texts that stand for themselves, and guards, which are not run."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names"), _check_name),
    **dict.fromkeys(("target", "as_operator"), _check_operator),
    **dict.fromkeys(("in_spec", "out_spec"), _check_tree),
    **dict.fromkeys((*_TEXTS, "guards_code"), _check_nothing),
    "expr_str": _check_expression,
}
