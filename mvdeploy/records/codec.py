"""Records to JSON and back: strict both ways, standard library only.

A field that is missing, unknown or of another type is refused with its path, so a file is either
read as it was meant or not at all. So is one with a value that cannot be: a field says in its type
what it may hold (``Annotated[int, Range(1)]``; see `mvdeploy.records.limits`), a record in a method
``faults`` what its fields must be to each other. What `save` writes has a checksum beside, as one
changed digit of a time is a time as good as any. A field that had another name in earlier files
says so in its metadata: ``dataclasses.field(metadata={FORMERLY: "old_name"})``.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import hashlib
import json
import math
import reprlib
import types
import typing
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union

from mvdeploy.errors import UsageError
from mvdeploy.files import reading, writing

SCHEMA_VERSION = 2
"""Version of every saved JSON file.

History: 1 (first release); 2 (precision, format and device of a case, several outputs, start times
of operators, order of the inferences).
"""

READABLE = (1, 2)
"""Versions that are read."""

FORMERLY = "formerly"
"""Key of a field's metadata: the name that it had in files of earlier versions."""

_CHECKSUM = "checksum"
"""Entry with the sha256 of all others; files of earlier versions have none."""

_DIGITS = 20
"""Characters of a whole number: more are no number that anything here counts."""

_LARGEST = 2**63

_AGAIN = "Make it again: the file is damaged, or was changed by hand."

T = TypeVar("T")
N = TypeVar("N", bound=Hashable)


class RecordError(UsageError):
    """A saved record cannot be read."""


class Limit(Protocol):
    """What a field may hold, beside its type."""

    def problem(self, value: Any) -> str:
        """Say what the value should be; empty when it is that."""


@typing.runtime_checkable
class Checked(Protocol):
    """A record whose fields have to fit one another."""

    def faults(self) -> Iterable[str]:
        """Give what is wrong with it, each as a clause that follows its name: ``has no case``."""


def encode(value: Any) -> Any:
    """Turn a record (or a container of records) into plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    return value


def decode(cls: type[T], data: Any, where: str = "") -> T:
    """Build a record of type `cls` from plain JSON values.

    Raises:
        RecordError: a field is missing, unknown, or not of its declared type; names the field.
    """
    return typing.cast(T, _decode(cls, data, where or getattr(cls, "__name__", "value")))


def dumps(record: Any, *, indent: int | None = None) -> str:
    """Return the saved form of a record: its fields, its kind and the schema version.

    Floats that are no numbers are refused: JSON has no word for them.
    """
    return _text(_body(record), indent)


def sealed(record: Any, *, indent: int | None = None) -> str:
    """Return what `dumps` does, with a checksum."""
    body = _body(record)
    return _text({**body, _CHECKSUM: _checksum(body)}, indent)


def loads(cls: type[T], text: str, source: str) -> T:
    """Read a record from its saved form.

    Args:
        cls: the record type.
        text: what `dumps` wrote.
        source: where the text comes from, for messages.

    Raises:
        RecordError: not JSON, another schema version, another record, or malformed fields.
    """
    try:
        data = json.loads(
            text,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{source} is not valid JSON ({error}).",
            "It may be truncated or damaged: make the file again.",
        ) from error
    if not isinstance(data, dict) or "schema_version" not in data:
        raise RecordError(
            f"{source} is not a record of mvdeploy (it has no 'schema_version').",
            "Give a file that mvdeploy wrote.",
        )
    said = data.pop(_CHECKSUM, None)
    found = said if said is None else _checksum(data)
    version, kind = data.pop("schema_version"), data.pop("record", None)
    if type(version) is not int or version not in READABLE:
        versions = " and ".join(map(str, READABLE))
        raise RecordError(
            f"{source} has schema version {version}; this mvdeploy reads {versions}.",
            "Read it with the mvdeploy release that wrote it, or make it again.",
        )
    if kind != cls.__name__:
        raise RecordError(
            f"{source} holds a record of kind '{kind}', not '{cls.__name__}'.",
            "Give the file that belongs here.",
        )
    record = decode(cls, data, f"{source}: {cls.__name__.lstrip('_')}")
    if said != found:
        raise RecordError(
            f"{source} is not as it was saved: it has another checksum.",
            "It was damaged, or changed by hand: make it again. Without its entry 'checksum' it is "
            "read as it stands.",
        )
    return record


def save(record: Any, path: Path, *, indent: int | None = 1, remedy: str = writing.REMEDY) -> None:
    """Write a record to a file, in one step: a reader sees the old file or the new one.

    The file has a checksum, which does not depend on spaces or on the order of names.

    Raises:
        NotWritten: the file cannot be written; see `mvdeploy.files.writing`.
    """
    writing.text(path, sealed(record, indent=indent) + "\n", remedy=remedy)


def load(cls: type[T], path: Path) -> T:
    """Read a record from a file.

    Raises:
        RecordError: the file is missing, unreadable or malformed.
    """
    try:
        text = reading.text(path, limit=reading.RECORD, what="a record")
    except UsageError as error:
        raise RecordError(error.message, error.remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(
            f"{path} cannot be read ({error}).", "Check the path and that the file is text."
        ) from error
    return loads(cls, text, str(path))


def _body(record: Any) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "record": type(record).__name__, **encode(record)}


def _text(body: Any, indent: int | None) -> str:
    return json.dumps(body, indent=indent, ensure_ascii=False, allow_nan=False)


def _checksum(body: Any) -> str:
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (Annotated, Literal):
        return _decode_narrowed(kind, data, where)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), data, where)
    if origin is dict:
        if not isinstance(data, dict):
            raise _mismatch(where, "an object", data)
        item = typing.get_args(kind)[1]
        return {k: _decode(item, v, f"{where}.{k}") for k, v in data.items()}
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, where)
    return _decode_scalar(kind, data, where)


def _decode_narrowed(kind: Any, data: Any, where: str) -> Any:
    of, *limits = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        words = [of, *limits]
        if not any(type(data) is type(word) and data == word for word in words):
            raise _mismatch(where, f"one of {words}", data)
        return data
    value = _decode(of, data, where)
    if problem := _problem(limits, value):
        raise _mismatch(where, problem, value)
    return value


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(data)
        except ValueError:
            raise _mismatch(where, f"one of {[m.value for m in kind]}", data) from None
    if kind is float:
        return _decode_float(data, where)
    if kind is type(None):
        if data is not None:
            raise _mismatch(where, "null", data)
        return None
    if isinstance(kind, type) and issubclass(kind, str) and isinstance(data, str):
        return kind(data)
    # bool is a subclass of int, but true is no number.
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise _mismatch(where, kind.__name__, data)
    if kind is int and not -_LARGEST <= data < _LARGEST:
        raise _mismatch(where, "a whole number of 64 bits", data)
    return data


def _problem(limits: Iterable[Limit], value: Any) -> str:
    return next(filter(None, (limit.problem(value) for limit in limits)), "")


def _decode_float(data: Any, where: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise _mismatch(where, "float", data)
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _mismatch(where, "a finite number", data)
    return number


def repeated(names: Iterable[N]) -> set[N]:
    """Return what stands more than once."""
    return {name for name, count in collections.Counter(names).items() if count > 1}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON text; Python would take the last of two values with one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = min(repeated(name for name, _ in pairs))
        raise ValueError(f"the name {reprlib.repr(twice)} stands twice in one object")
    return made


def _whole(text: str) -> int | float:
    """Read a whole number of a JSON text; one of more digits than anything here has is no int."""
    return int(text) if len(text) <= _DIGITS else float(text)


def _finite(text: str) -> float:
    """Read a number of a JSON text; Python would take ``NaN``, and ``1e999`` as infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _decode_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    error: RecordError | None = None
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _decode(kind, data, where)
        except RecordError as failed:
            error = error or failed
    raise error or _mismatch(where, "null", data)


def _decode_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, list | tuple):
        raise _mismatch(where, "a list", data)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kind = kinds[0]
        # Sample lists are long and flat: check them without a call for each number.
        of, *limits = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
        if of is int and data and set(map(type, data)) == {int}:
            ends = (min(data), max(data))
            if all(-_LARGEST <= n < _LARGEST and not _problem(limits, n) for n in ends):
                return tuple(data)
        return tuple(_decode(kind, v, f"{where}[{i}]") for i, v in enumerate(data))
    if len(data) != len(kinds):
        raise _mismatch(where, f"a list of {len(kinds)}", data)
    return tuple(
        _decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, data, strict=True))
    )


@functools.cache
def _field_types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _mismatch(where, f"an object ({kind.__name__})", data)
    hints = _field_types(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    data = _renamed(fields, data)
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise RecordError(
            f"{where} has the unknown field '{unknown[0]}'.",
            f"Known fields are: {', '.join(fields)}.",
        )
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{where} lacks the field '{name}'.", "Add it, or make it again.")
    record = kind(**values)
    if isinstance(record, Checked):
        for fault in record.faults():
            raise RecordError(f"{where} {fault}.", _AGAIN)
    return record


def _renamed(fields: dict[str, dataclasses.Field[Any]], data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file under the names that they have today."""
    names = {f.metadata[FORMERLY]: name for name, f in fields.items() if FORMERLY in f.metadata}
    return {names[k] if names.get(k, k) not in data else k: v for k, v in data.items()}


def _mismatch(where: str, expected: str, data: Any) -> RecordError:
    return RecordError(f"{where} should be {expected}, not {_SHORT.repr(data)}.", "Correct it.")


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
