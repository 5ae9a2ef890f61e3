"""Files that would run code, if they were believed: each makes a file called ``marker``."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Program = dict[str, Any]


class Marks:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def expression(marker: Path) -> str:
    """Return Python that makes the marker."""
    return f"__import__('os').system('touch {marker}')"


def pickled(marker: Path) -> bytes:
    """Return what torch.save writes of an object that makes the marker."""
    import torch

    held = io.BytesIO()
    torch.save(Marks(marker), held)
    return held.getvalue()


def programs(model: Path, folder: Path, marker: Path) -> Iterator[tuple[str, Path]]:
    """Yield hostile copies of an exported program, with what is wrong with each.

    Args:
        model: a program whose network is a sequence with a linear layer that takes ``x``.
        folder: where they are written.
        marker: what they would make.
    """
    for name, change in _CHANGES.items():
        path = folder / f"{name}.pt2"
        alter(model, path, functools.partial(change, marker=marker))
        yield name, path
    old = folder / "old.pt2"
    with zipfile.ZipFile(model) as given, zipfile.ZipFile(old, "w") as archive:
        program = next(name for name in given.namelist() if name.endswith("models/model.json"))
        archive.writestr("version", "8.14")
        archive.writestr("serialized_exported_program.json", given.read(program))
        for member in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{member}.pt", pickled(marker))
    yield "old", old


def alter(model: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write a copy of a torch archive whose members are changed."""
    import torch

    with zipfile.ZipFile(model) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.set_min_version(6)
    for name, held in members.items():
        if not name.startswith((".data/", "version", ".format", "byteorder")):
            writer.write_record(name, held, len(held))
    writer.write_end_of_file()


def _edit(members: dict[str, bytes], change: Callable[[Program], None]) -> None:
    program = json.loads(members["models/model.json"])
    change(program)
    members["models/model.json"] = json.dumps(program).encode()


def _graph(program: Program) -> Program:
    graph: Program = program["graph_module"]["graph"]
    return graph


def _sample_inputs(members: dict[str, bytes], marker: Path) -> None:
    members["data/sample_inputs/model.pt"] = pickled(marker)


def _weight(members: dict[str, bytes], marker: Path) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(members[name])
    held = next(iter(config["config"].values()))
    held["use_pickle"] = True
    members[f"data/weights/{held['path_name']}"] = pickled(marker)
    members[name] = json.dumps(config).encode()


def _earlier_weights(members: dict[str, bytes], marker: Path) -> None:
    members["data/weights/model.pt"] = pickled(marker)


def _earlier_constants(members: dict[str, bytes], marker: Path) -> None:
    members["data/constants/model.pt"] = pickled(marker)


def _object(members: dict[str, bytes], marker: Path) -> None:
    name = "data/constants/model_constants_config.json"
    config = json.loads(members[name])
    path = "opaque_obj_0"
    config["config"]["c"] = {
        "path_name": path,
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    members[f"data/constants/{path}"] = pickle.dumps(Marks(marker))
    members[name] = json.dumps(config).encode()


def _size(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        # The output's meaning is looked at when the program is read.
        for held in _graph(program)["tensor_values"].values():
            held["sizes"][0] = {"as_expr": {"expr_str": expression(marker), "hint": None}}

    _edit(members, change)


def _operator(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        node = _graph(program)["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {marker}"}, "kind": 1}]

    _edit(members, change)


def _file_operator(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        node = _graph(program)["nodes"][0]
        node["target"] = "torch.ops.aten.from_file.default"
        arguments = {"filename": {"as_string": str(marker)}, "shared": {"as_bool": True}}
        arguments["size"] = {"as_int": 8}
        node["inputs"] = [
            {"name": name, "arg": arg, "kind": 1 if name == "filename" else 2}
            for name, arg in arguments.items()
        ]

    _edit(members, change)


def _node_name(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        text = json.dumps(program)
        first = _graph(program)["nodes"][0]["outputs"][0]["as_tensor"]["name"]
        code = f"{expression(marker)}; {first}"
        program.clear()
        program.update(json.loads(text.replace(f'"{first}"', json.dumps(code))))

    _edit(members, change)


def _argument_name(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        for entry in program["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                entry["signature"]["forward_arg_names"] = [f"x={expression(marker)}"]

    _edit(members, change)


def _keyword(members: dict[str, bytes], marker: Path) -> None:
    def change(program: Program) -> None:
        node = _graph(program)["nodes"][0]
        node["target"] = "torch.ops.higher_order.cond"
        node["inputs"][0] |= {"name": f"x={expression(marker)}, y", "kind": 2}

    _edit(members, change)


def _guards(members: dict[str, bytes], marker: Path) -> None:
    _edit(members, lambda program: program.update(guards_code=[expression(marker)]))


def _container(members: dict[str, bytes], marker: Path) -> None:
    # A module beside the file is imported for the sake of an enumeration.
    (marker.parent / "beside_it.py").write_text(f"open({str(marker)!r}, 'w')\n")
    context = json.dumps([{"__enum__": True, "fqn": "beside_it:Kind", "name": "A"}])

    def change(program: Program) -> None:
        for entry in program["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                version, tree = json.loads(entry["signature"]["in_spec"])
                tree["children_spec"][1]["context"] = context
                entry["signature"]["in_spec"] = json.dumps([version, tree])

    _edit(members, change)


def _default(members: dict[str, bytes], marker: Path) -> None:
    (marker.parent / "beside_it.py").write_text(f"open({str(marker)!r}, 'w')\n")

    def change(program: Program) -> None:
        for entry in program["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                version, tree = json.loads(entry["signature"]["out_spec"])
                context = {"default_factory_module": "beside_it", "default_factory_name": "open"}
                tree = {
                    "type": "collections.defaultdict",
                    "context": {**context, "dict_context": ["y"]},
                    "children_spec": [tree],
                }
                entry["signature"]["out_spec"] = json.dumps([version, tree])

    _edit(members, change)


def _parameter(members: dict[str, bytes], marker: Path) -> None:
    code = f'a"+{expression(marker)}+"'
    for name in ("models/model.json", "data/weights/model_weights_config.json"):
        members[name] = members[name].replace(b'"0.weight"', json.dumps(code).encode())


def _compiled(members: dict[str, bytes], marker: Path) -> None:
    members["data/aotinductor/model/model.wrapper.so"] = b"\x7fELF"


_CHANGES: dict[str, Callable[[dict[str, bytes], Path], None]] = {
    "sample_inputs": _sample_inputs,
    "weight": _weight,
    "earlier_weights": _earlier_weights,
    "earlier_constants": _earlier_constants,
    "object": _object,
    "size": _size,
    "operator": _operator,
    "file_operator": _file_operator,
    "node_name": _node_name,
    "argument_name": _argument_name,
    "keyword": _keyword,
    "guards": _guards,
    "container": _container,
    "default": _default,
    "parameter": _parameter,
    "compiled": _compiled,
}
