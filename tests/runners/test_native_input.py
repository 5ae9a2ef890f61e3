from __future__ import annotations

import functools
import hashlib
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from tests.runners.native_kit import (
    asking,
    failure,
    host_kit,
    make_job,
    native,
    plugins,
    run,
    sha256,
    with_model,
)

__all__ = ["host_kit", "make_job", "native", "plugins", "run"]

DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64"),
)

# The runner is a program of its own: a fixture of one test is as good for all of its examples.
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Jobs that are none.


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", b"\xff\xfe", '{"schema_version": 1}', "1"])
def test_a_malformed_job_is_an_error_event(run, text):
    ended = run(text)
    assert failure(ended)["kind"] == "input"
    assert ended.kinds == ["error"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"models": ()}, "no models"),
        ({"order": (0, 1)}, "a model it lacks"),
        ({"order": (-1,)}, "a model it lacks"),
        ({"threads": 0}, "less than one thread"),
        ({"warmup_order": (0, 0)}, "each model once"),
        ({"warmup_order": (1,)}, "each model once"),
        ({"warmup_order": (-1,)}, "each model once"),
        ({"repeat_s": 1.0, "order": ()}, "nothing to repeat"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(make_job, run, fields, words):
    assert words in failure(run(make_job("well", **fields)))["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outputs": ["a", "b", "a"]}, "two outputs of a model have one name"),
        ({"outputs": "a"}, "models[0].outputs should be a list"),
        ({"outputs": None}, "models[0].outputs should be a list"),
        ({"outputs": ["a", 1]}, "models[0].outputs[1] should be a string"),
        ({"outputs_to": 1}, "models[0].outputs_to should be a string"),
        ({"options": []}, "models[0].options should be an object"),
        ({"options": {"delegate": 1}}, "models[0].options.delegate should be a string"),
        ({"inputs": {"x": None}}, "models[0].inputs.x should be a string"),
    ],
)
def test_fields_of_another_type_are_told_with_their_place(make_job, run, fields, words):
    error = failure(run(asking(make_job("well"), **fields)))
    assert error["kind"] == "input"
    assert words in error["message"]


def paths_of(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from paths_of(item, (*path, key))


def put(value, path, item):
    if not path:
        return item
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], item)
    return copy


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@many
@given(data=st.data())
def test_a_job_with_anything_anywhere_never_crashes_the_runner(make_job, run, tmp_path, data):
    job = make_job("well", "well", cores=(0,), warmup_order=(1, 0))
    fields = {"outputs": ["y"], "outputs_to": None, "options": {"delegate": "none"}}
    body = json.loads(asking(job, **fields))
    path = data.draw(st.sampled_from(list(paths_of(body))))
    value = data.draw(TREES)
    # Other numbers of the warm-up are good ones, and may be large.
    assume(path[:1] != ("warmup",) or not isinstance(value, int | float))
    if path[-1:] in (("profile_to",), ("outputs_to",)) and isinstance(value, str):
        value = f"{tmp_path}/{value}"  # it is made
    ended = run(json.dumps(put(body, path, value)))
    assert ended.status in (0, 4)
    assert ended.kinds[-1] == ("done" if ended.status == 0 else "error")


@many
@given(data=st.data())
def test_a_job_that_lacks_a_field_or_has_one_more_is_refused(make_job, run, data):
    body = json.loads(dumps(make_job("well")))
    places = [(), ("models", 0), ("warmup",)]
    place = data.draw(st.sampled_from(places))
    inner = functools.reduce(lambda value, key: value[key], place, body)
    name = data.draw(st.sampled_from([*inner, "unknown"]))
    changed = {k: v for k, v in inner.items() if k != name}
    if name == "unknown":
        changed[name] = 1
    ended = run(json.dumps(put(body, place, changed)))
    optional = {
        "profile_to",
        "options",
        "outputs",
        "outputs_to",
        "cores",
        "warmup_order",
        "repeat_s",
    }
    optional |= {*vars(Warmup())}
    if name in optional:
        assert ended.status == 0
    else:
        assert name in failure(ended)["message"]


def is_json(text):
    """Whether a text is JSON of the kind that the runner reads."""

    def unique(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def integer(digits):
        if not -(2**63) <= int(digits) < 2**63:
            raise ValueError("too large")
        return int(digits)

    def real(digits):
        if not math.isfinite(float(digits)):
            raise ValueError("too large")
        return float(digits)

    try:
        options = {"object_pairs_hook": unique, "parse_int": integer, "parse_float": real}
        value = json.loads(text, parse_constant=real, **options)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return "\\u0000" not in text


@many
@given(
    value=TREES,
    cut=st.integers(0, 200),
    length=st.integers(0, 2),
    inserted=st.text('[]{}",:\\/ue0-+.1tfn \n\x01é', max_size=3),
    ascii_only=st.booleans(),
)
@example(value=1, cut=0, length=1, inserted="01", ascii_only=True)
@example(value=1, cut=0, length=1, inserted="1e5", ascii_only=True)
@example(value=1, cut=0, length=1, inserted="1.", ascii_only=True)
@example(value="", cut=1, length=0, inserted="\\ud800", ascii_only=True)
@example(value="", cut=1, length=0, inserted="\\ud83d\\ude00", ascii_only=True)
@example(value="", cut=1, length=0, inserted="\\", ascii_only=True)
@example(value=1, cut=0, length=1, inserted="1e999", ascii_only=True)
@example(value=1, cut=0, length=1, inserted="9223372036854775808", ascii_only=True)
@example(value=1, cut=0, length=1, inserted='{"a": 1, "a": 2}', ascii_only=True)
def test_json_is_what_json_is_elsewhere(run, value, cut, length, inserted, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    text = text[:cut] + inserted + text[cut + length :]
    message = failure(run(text))["message"]
    assert message.startswith("The job is not valid JSON") is not is_json(text)


@pytest.mark.parametrize("depth", [60, 70, 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_depth_is_bounded(run, depth, brackets):
    text = brackets[0] * depth + "1" + brackets[1] * depth
    message = failure(run(text))["message"]
    assert ("nested too deeply" in message) is (depth > 64)


@many
@given(text=st.binary(max_size=100))
def test_whatever_is_sent_instead_of_a_job_is_an_error(run, text):
    assert failure(run(text))["kind"] == "input"


# Inputs.


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (), (2, 0), (12345,), (100, 1, 1, 1)])
def test_inputs_and_outputs_of_every_type_are_read_and_written(
    native, tmp_path, shape, make_identity
):
    rng = np.random.default_rng(0)
    tensors = {name: (10 * rng.standard_normal(shape)).astype(name) for name in DTYPES}
    folder = tmp_path / "out" / "puts"
    ended = native.run(asking(make_identity(tensors), outputs_to=str(folder)))
    assert ended.status == 0, ended
    (output,) = ended.of("output")
    names = sorted(f"{name}/out" for name in DTYPES)
    assert output["files"] == {n: str(folder / f"{i}.npy") for i, n in enumerate(names)}
    assert output["shape"] == {name: list(shape) for name in names}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{i}.npy" for i in range(len(DTYPES))
    )
    for name, tensor in tensors.items():
        got = np.load(output["files"][f"{name}/out"])
        assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
        np.testing.assert_array_equal(got, tensor)
        # Byte for byte what NumPy writes.
        assert (
            Path(output["files"][f"{name}/out"]).read_bytes()
            == (tmp_path / f"{name}.npy").read_bytes()
        )
    whole = b"".join(tensors[name.removesuffix("/out")].tobytes() for name in names)
    assert output["sha256"] == hashlib.sha256(whole).hexdigest()


@pytest.fixture
def make_identity(tmp_path):
    """Return a function of tensors that makes a job which hands them through ONNX Runtime."""
    import onnx
    from onnx import helper

    def make(tensors):
        inputs, ends, nodes = {}, {"": [], "/out": []}, []
        for name, tensor in tensors.items():
            kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
            for suffix, infos in ends.items():
                shape = list(tensor.shape)
                infos.append(helper.make_tensor_value_info(name + suffix, kind, shape))
            nodes.append(helper.make_node("Identity", [name], [f"{name}/out"]))
            inputs[name] = str(tmp_path / f"{name}.npy")
            np.save(inputs[name], tensor)
        graph = helper.make_graph(nodes, "identity", ends[""], ends["/out"])
        opset = [helper.make_opsetid("", 17)]
        path = tmp_path / "identity.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        entry = JobModel("onnxruntime", str(path), sha256(path), inputs)
        return Job((entry,), (0,), 1, Warmup(iterations=1))

    return make


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65504.0])
def test_outputs_that_are_not_finite_are_told(native, make_identity, dtype, value):
    tensor = np.zeros(5, dtype)
    tensor[3] = value
    job = make_identity({"x": tensor, "y": np.full(3, 2**62)})
    (output,) = native.run(job).of("output")
    assert output["finite"] is bool(np.isfinite(value))


def occupy_with_a_file(folder):
    folder.touch()


def occupy_the_name(folder):
    (folder / "0.npy" / "in the way").mkdir(parents=True)


def fill_the_disk(folder):
    folder.mkdir()
    (folder / "0.npy.part").symlink_to("/dev/full")


BAD_FOLDERS = {
    "file": (occupy_with_a_file, "", "could not be made (Not a directory)"),
    "below a file": (occupy_with_a_file, "below/it", "could not be made (Not a directory)"),
    "a device": (lambda folder: folder.symlink_to("/dev/null"), "", "(Not a directory)"),
    "occupied": (occupy_the_name, "", "The output 'doubled' could not be saved"),
    "full": (fill_the_disk, "", "0.npy (No space left on device)"),
    "long": (lambda folder: None, "n" * 300, "(File name too long)"),
    "longer": (lambda folder: None, "/".join(["n" * 100] * 50), "nnn…."),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_outputs_that_cannot_be_saved_are_an_error(make_job, run, tmp_path, case):
    prepare, below, words = BAD_FOLDERS[case]
    folder = tmp_path / "outputs"
    prepare(folder)
    ended = run(asking(make_job("well"), outputs_to=str(folder / below)))
    error = failure(ended)
    assert error["kind"] == "run"
    assert words in error["message"]
    assert "written to" in error["remedy"]
    assert ended.of("samples")  # what was measured is kept
    assert not [path for path in folder.glob("*") if path.is_file() or path.is_symlink()]


def test_saved_outputs_replace_those_of_an_earlier_job(make_job, run, tmp_path):
    (tmp_path / "0.npy").write_bytes(b"of an earlier job")
    assert run(asking(make_job("well"), outputs_to=str(tmp_path))).status == 0
    assert np.load(tmp_path / "0.npy")[1, 2] == 10
    assert not list(tmp_path.glob("*.part"))


def write_truncated(path):
    np.save(path, np.zeros(100))
    path.write_bytes(path.read_bytes()[:-50])


def write_longer(path):
    np.save(path, np.zeros(100))
    path.write_bytes(path.read_bytes() + b"more")


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))


BAD_INPUTS = {
    "missing": (lambda path: None, "No such file"),
    "empty": (lambda path: path.write_bytes(b""), "no NumPy .npy file"),
    "text": (lambda path: path.write_bytes(b"not a tensor"), "no NumPy .npy file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "no NumPy .npy file"),
    "objects": (lambda path: np.save(path, np.array([{}])), "element type |O cannot be used"),
    "strings": (lambda path: np.save(path, np.array(["a"])), "element type <U1"),
    "big-endian": (lambda path: np.save(path, np.zeros(3, ">f4")), "element type >f4"),
    "structured": (lambda path: np.save(path, np.zeros(3, "f4,i4")), "header"),
    "fortran": (lambda path: np.save(path, np.zeros((2, 3)).T), "Fortran order"),
    "truncated": (write_truncated, "size is not that of the tensor"),
    "longer": (write_longer, "size is not that of the tensor"),
    "archive": (write_archive, "no NumPy .npy file"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_is_no_tensor_is_refused(make_job, run, tmp_path, name):
    write, words = BAD_INPUTS[name]
    path = tmp_path / "bad.npy"
    write(path)
    error = failure(run(with_model(make_job("well"), inputs={"x": str(path)})))
    assert error["kind"] == "input"
    assert "The input 'x'" in error["message"]
    assert words in error["message"]


@many
@given(
    at=st.integers(0, 140),
    length=st.integers(0, 4),
    inserted=st.binary(max_size=4) | st.sampled_from([b"9" * 20, b"(", b"-1", b"4,", b"'"]),
)
@example(at=6, length=1, inserted=b"\x04")
@example(at=7, length=1, inserted=b"\x01")
@example(at=69, length=3, inserted=b"\0\0\0")
@example(at=6, length=1, inserted=b"\x02")
@example(at=8, length=2, inserted=b"\xff\xff")
def test_a_damaged_input_never_crashes_the_runner(make_job, run, tmp_path, at, length, inserted):
    np.save(tmp_path / "good.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    bytes_ = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "bad.npy").write_bytes(bytes_[:at] + inserted + bytes_[at + length :])
    ended = run(with_model(make_job("well"), inputs={"x": str(tmp_path / "bad.npy")}))
    assert ended.status in (0, 4)
    if ended.status == 0:  # then it is one for everybody
        np.load(tmp_path / "bad.npy", allow_pickle=False)
