"""Damages that know what is in a file, by its kind: JSON, archives, protobufs, text."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.robustness import forms_tflite

Damage = Callable[[bytes, random.Random], bytes]


OUTSIDE = ("../outside", "/tmp/mvdeploy-robustness-outside")
"""Names that lead out of the folder in which an archive may be unpacked."""


def of(file: Path) -> Mapping[str, Damage]:
    """Return the damages of a file's kind, by name."""
    kind = file.suffix.lstrip(".")
    return _FORMS.get("weight" if file.name == "weight.bin" else kind, {})


_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 7, 0.5, 1e308, 10**25, 10**400, -(10**9)),
    *("", "7", "../../other", "evil.py:make", "\x1b[31mred", "x" * 5000, [], {}, [[]]),
)


def json_value(data: bytes, rng: random.Random) -> bytes:
    """Change a value of a JSON document: gone, or of another kind, size, sign or length."""
    document = json.loads(data)
    places = list(_places(document))
    # Numbers of long lists are many, and much alike.
    few = [(home, key) for home, key in places if isinstance(home, dict) or key < 2]
    if not places:
        return b"[]"
    home, key = rng.choice(few if few and rng.random() < 0.8 else places)
    value = home[key]
    others = list(_VALUES)
    if isinstance(value, int | float) and not isinstance(value, bool):
        others += [-value, value * 1000, value + 1, value / 3] * 2
    if isinstance(value, list):
        others += [value[1:], value[:-1], value + value[:1], value * 2] * 3
    if rng.random() < 0.15:
        del home[key]
    else:
        home[key] = rng.choice(others)
    return json.dumps(document).encode()


def json_evil(data: bytes, rng: random.Random) -> bytes:
    """Name the file evil.py in place of a text."""
    document = json.loads(data)
    texts = [(home, key) for home, key in _places(document) if isinstance(home[key], str)]
    if texts:
        home, key = rng.choice(texts)
        home[key] = rng.choice(("evil.py:make", "./evil.py", "evil", "../../evil.py:make"))
    return json.dumps(document).encode()


def json_twice(data: bytes, rng: random.Random) -> bytes:
    """Have a key of a JSON object twice, with another value the second time."""
    text = data.decode()
    document = json.loads(text)
    homes = [home for home, _ in _places(document) if isinstance(home, dict)]
    home = rng.choice([document, *homes])
    if not isinstance(home, dict) or not home:
        return data + b" "
    key = rng.choice(list(home))
    stands = f"{json.dumps(key)}: "
    again = f"{stands}{json.dumps(rng.choice(list(home.values())))}, "
    at = json.dumps(document).find(stands)
    dumped = json.dumps(document)
    return (dumped[:at] + again + dumped[at:]).encode()


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Give every place in a document: what holds it, and its key or number there."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield document, key
        yield from _places(value)


def _repacked(data: bytes, change: Callable[[str, bytes], Mapping[str, bytes]]) -> bytes:
    """Write an archive again, its sums right, each member as `change` gives it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            for name, content in change(member.filename, old.read(member)).items():
                new.writestr(name, content)
    return out.getvalue()


def _member(data: bytes, rng: random.Random) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return rng.choice(archive.namelist())


def member_gone(data: bytes, rng: random.Random) -> bytes:
    """Lose a member of an archive."""
    gone = _member(data, rng)
    return _repacked(data, lambda name, content: {} if name == gone else {name: content})


def member_swapped(data: bytes, rng: random.Random) -> bytes:
    """Have a member's content in another."""
    one, other = _member(data, rng), _member(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = archive.read(other)
    return _repacked(data, lambda name, own: {name: content if name == one else own})


def member_flipped(data: bytes, rng: random.Random) -> bytes:
    """Change bytes of a member, and have the archive's sums right."""
    chosen = _member(data, rng)

    def change(name: str, content: bytes) -> Mapping[str, bytes]:
        if name != chosen or not content:
            return {name: content}
        at = rng.randrange(len(content))
        new = bytes([content[at] ^ (1 << rng.randrange(8))])
        return {name: content[:at] + new + content[at + 1 :]}

    return _repacked(data, change)


def member_pickle(data: bytes, rng: random.Random) -> bytes:
    """Have a hostile pickle as a member."""
    from tests.robustness.damages import HOSTILE

    chosen = _member(data, rng)
    return _repacked(data, lambda name, own: {name: HOSTILE if name == chosen else own})


def member_bomb(data: bytes, rng: random.Random) -> bytes:
    """Have a member that unpacks to a thousand times its size."""
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/data/{rng.randrange(1000)}", bytes(64 << 20))
    return out.getvalue()


def member_names(data: bytes, rng: random.Random) -> bytes:
    """Have a member whose name leads out of the archive, or that is there twice."""
    chosen = _member(data, rng)
    other = rng.choice((OUTSIDE[0], OUTSIDE[1], "\x1b[31mred", "a" * 300, "/"))
    return _repacked(data, lambda name, own: {other if name == chosen else name: own})


def safetensors_header(data: bytes, rng: random.Random) -> bytes:
    """Change a value in the header of a safetensors file."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json_value(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def _message(kind: str) -> Any:
    module, name = {
        "onnx": ("onnx", "ModelProto"),
        "mlmodel": ("coremltools.proto.Model_pb2", "Model"),
    }[kind]
    return getattr(importlib.import_module(module), name)()


def _field(kind: str) -> Damage:
    def field(data: bytes, rng: random.Random) -> bytes:
        """Change a field of a protobuf."""
        message = _message(kind)
        message.ParseFromString(data)
        home = rng.choice(list(_messages(message)))
        present = [descriptor for descriptor, _ in home.ListFields()]
        if not present:
            return data + b"\0"
        _alter(home, rng.choice(present), rng)
        written: bytes = message.SerializePartialToString()
        return written

    return field


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.type != descriptor.TYPE_MESSAGE:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            inner = value.values() if hasattr(value, "values") else ()
        else:
            inner = (
                value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else [value]
            )
        for one in inner:
            if hasattr(one, "ListFields"):
                yield from _messages(one)


_NUMBERS = (0, -1, 1, 2, 7, 2**31 - 1, -(2**31), 2**40, 2**63 - 1)
_TEXTS = ("", "evil.py:make", "../../etc/passwd", "\x1b[31mred", "x" * 5000, "image", "ü\u202e")


def _alter(home: Any, descriptor: Any, rng: random.Random) -> None:
    """Change a field that is there: another value, or one of several gone or twice."""
    value = getattr(home, descriptor.name)
    several = hasattr(value, "extend")
    plain = not hasattr(value, "keys") and descriptor.type != descriptor.TYPE_MESSAGE
    if plain and rng.random() < 0.7 and _assign(home, descriptor.name, value, several, rng):
        return
    if several and len(value) and rng.random() < 0.7:
        if rng.random() < 0.5:
            del value[rng.randrange(len(value))]
        else:
            value.extend([value[0]])
    else:
        home.ClearField(descriptor.name)


def _assign(home: Any, name: str, value: Any, several: bool, rng: random.Random) -> bool:
    """Set a field, or one of several, to another value that it takes; say whether there is one."""
    stands = value[0] if several else value
    choice: Sequence[Any] = _NUMBERS
    if isinstance(stands, str):
        choice = _TEXTS
    elif isinstance(stands, bytes):
        choice = [text.encode() for text in _TEXTS]
    for new in rng.sample(choice, len(choice)):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            if several:
                value[rng.randrange(len(value))] = new
            else:
                setattr(home, name, new)
            return True
    return False


def line_gone(data: bytes, rng: random.Random) -> bytes:
    """Lose a line."""
    lines = data.splitlines(keepends=True)
    lines.pop(rng.randrange(len(lines)))
    return b"".join(lines)


def line_twice(data: bytes, rng: random.Random) -> bytes:
    """Have a line twice."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def value_changed(data: bytes, rng: random.Random) -> bytes:
    """Have another value after an equals sign of a text."""
    lines = data.decode().splitlines()
    having = [i for i, line in enumerate(lines) if "=" in line] or [0]
    at = rng.choice(having)
    values = ("-1", "0", "1e400", "nan", '""', "[]", "{}", "true", '"evil.py:make"', "2024-01-01")
    huge = ("9" * 5000, '"' + "x" * 5000 + '"', '"\\u001b[31mred"', "[" * 500, "1979-99-99")
    lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice((*values, *huge))}"
    return "\n".join(lines).encode()


def weight(data: bytes, rng: random.Random) -> bytes:
    """Change a number of a weight by much: one of the high bits of a float."""
    at = rng.randrange(len(data) // 2) * 2 + 1
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


_TEXT = {"linegone": line_gone, "linetwice": line_twice}
_ZIP = {
    "membergone": member_gone,
    "memberswapped": member_swapped,
    "memberflipped": member_flipped,
    "memberpickle": member_pickle,
    "memberbomb": member_bomb,
    "membernames": member_names,
}
_FORMS: dict[str, dict[str, Damage]] = {
    "json": {"value": json_value, "evil": json_evil, "keytwice": json_twice},
    "safetensors": {"entry": safetensors_header, "weight": weight},
    "onnx": {"field": _field("onnx"), "weight": weight},
    "mlmodel": {"field": _field("mlmodel")},
    "weight": {"weight": weight},
    "toml": {**_TEXT, "value": value_changed},
    "py": {**_TEXT, "value": value_changed},
    "txt": _TEXT,
    **dict.fromkeys(("pt", "ckpt", "pt2"), _ZIP),
    "pte": {"weight": weight},
    "tflite": {"field": forms_tflite.field, "weight": weight},
    "ort": {"weight": weight},
}
