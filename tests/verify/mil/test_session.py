"""Sessions: what is fed and given, and that it is the saved program which runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil

with quiet(errors=True):
    import coremltools as ct


def _run(path, image):
    session = mil.open_session(SessionRequest(path, {"image": image.numpy()}))
    session.infer()
    return session.outputs()["logits"]


def _eager(network, image):
    with torch.no_grad():
        return network(image).numpy()


def test_outputs_are_those_of_the_network(small, small_package):
    network, image = small
    wanted = _eager(network, image)
    exact = _run(small_package("fp32"), image)
    assert exact.dtype == np.float32
    np.testing.assert_allclose(exact, wanted, rtol=0, atol=2e-6)
    halves = _run(small_package("fp16"), image)
    assert halves.dtype == np.float16
    np.testing.assert_allclose(halves, wanted, rtol=0, atol=5e-3)
    assert np.abs(halves - wanted).max() > 1e-5


def test_feeding_replaces_the_inputs(small, small_package):
    network, image = small
    session = mil.open_session(SessionRequest(small_package("fp32"), {"image": image.numpy()}))
    session.infer()
    first = session.outputs()["logits"]
    session.feed({"image": -image.numpy()})
    session.infer()
    assert not np.allclose(session.outputs()["logits"], first)
    np.testing.assert_allclose(session.outputs()["logits"], _eager(network, -image), atol=2e-6)


def test_the_callers_array_may_change(small, small_package):
    network, image = small
    array = image.numpy().copy()
    session = mil.open_session(SessionRequest(small_package("fp32"), {"image": array}))
    array[:] = 0
    session.infer()
    np.testing.assert_allclose(session.outputs()["logits"], _eager(network, image), atol=2e-6)


def test_inner_tensors_are_read_by_name(small, small_package):
    network, image = small
    path = small_package("fp32")
    found = mil.operations(path)
    names = [operation.name for operation in found if operation.type in ("conv", "softmax")]
    tensors = mil.read_tensors(SessionRequest(path, {"image": image.numpy()}), [*names, "no such"])
    assert list(tensors) == names
    with torch.no_grad():
        wanted = network.conv(image).numpy()
    np.testing.assert_allclose(tensors[names[0]], wanted, atol=2e-6)
    assert tensors[names[1]].shape == (2, 16, 16)


def test_every_inner_tensor_of_a_half_program_is_rounded(small, small_package):
    _, image = small
    path = small_package("fp16")
    found = mil.operations(path)
    tensors = mil.read_tensors(
        SessionRequest(path, {"image": image.numpy()}), [o.name for o in found]
    )
    assert len(tensors) == len(found)
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float16")}


def test_what_is_not_needed_any_more_is_dropped(small, small_package):
    _, image = small
    session = mil.open_session(SessionRequest(small_package("fp32"), {"image": image.numpy()}))
    session.infer()
    names = [operation.name for operation in mil.operations(small_package("fp32"))]
    assert list(session.tensors(["image", *names])) == ["logits"]


def test_float32_is_rounded_where_halves_are_taken(small, small_package):
    _, image = small
    path = small_package("fp16")
    wide = _run(path, image)
    session = mil.open_session(SessionRequest(path, {"image": image.numpy().astype(np.float16)}))
    session.infer()
    np.testing.assert_array_equal(session.outputs()["logits"], wide)


def test_threads_are_set_and_there_is_no_profile(small, small_package, tmp_path):
    before = torch.get_num_threads()
    try:
        inputs = {"image": small[1].numpy()}
        session = mil.open_session(
            SessionRequest(small_package("fp32"), inputs, threads=2, profile_to=tmp_path)
        )
        assert torch.get_num_threads() == mil.options(2)["num_threads"] == 2
        assert session.end_profile() is None
    finally:
        torch.set_num_threads(before)


def test_the_version_names_coremltools():
    assert mil.version() == f"MIL interpreter (coremltools {ct.__version__})"


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "inputs image, not none"),
        ({"picture": np.zeros((2, 3, 8, 8), np.float32)}, "inputs image, not picture"),
        ({"image": np.zeros((1, 3, 8, 8), np.float32)}, r"is \(1, 3, 8, 8\), and the program"),
        ({"image": np.zeros((3, 8, 8), np.float32)}, r"is \(3, 8, 8\), and the program"),
        (
            {"image": np.zeros((2, 3, 8, 8), np.float64)},
            "is float64, and the program takes float32",
        ),
        (
            {"image": np.zeros((2, 3, 8, 8), np.float16)},
            "is float16, and the program takes float32",
        ),
    ],
)
def test_inputs_that_do_not_fit(inputs, said, small_package):
    with pytest.raises(EngineError, match=said) as caught:
        mil.open_session(SessionRequest(small_package("fp32"), inputs))
    assert caught.value.remedy


# What is changed in the saved program changes what comes out.


def _constant(block, operator, parameter):
    """Return where a constant parameter of an operator is in the program."""
    binding = operator.inputs[parameter].arguments[0]
    if binding.WhichOneof("binding") == "value":
        return binding.value.immediateValue.tensor
    source = next(o for o in block.operations if o.outputs[0].name == binding.name)
    return source.attributes["val"].immediateValue.tensor


def _of_type(block, kind):
    return next(operator for operator in block.operations if operator.type == kind)


def _drop_bias(block):
    del _of_type(block, "conv").inputs["bias"]


def _relu(block):
    _of_type(block, "silu").type = "relu"


def _softmax_axis(block):
    _constant(block, _of_type(block, "softmax"), "axis").ints.values[0] = 1


def _epsilon(block):
    _constant(block, _of_type(block, "layer_norm"), "epsilon").floats.values[0] *= 100


@pytest.mark.parametrize("mutate", [_drop_bias, _relu, _softmax_axis, _epsilon])
def test_a_change_of_the_program_changes_the_outputs(mutate, small, small_package, edit):
    network, image = small
    wanted = _eager(network, image)
    unchanged = edit(small_package("fp32"), lambda block: None)
    assert np.abs(_run(unchanged, image) - wanted).max() <= 2e-6
    unchanged.rename(unchanged.with_name("unchanged.mlpackage"))
    changed = edit(small_package("fp32"), mutate)
    assert np.abs(_run(changed, image) - wanted).max() > 1e-4


def test_what_fails_while_it_runs_is_named(save):
    class Pooled(nn.Module):
        def forward(self, x):
            return nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)

    path = save(Pooled(), (torch.zeros(1, 3, 8, 8),), inputs=[ct.TensorType("image", (1, 3, 8, 8))])
    session = mil.open_session(SessionRequest(path, {"image": np.zeros((1, 3, 8, 8), np.float32)}))
    with pytest.raises(
        EngineError, match=r"max_pool '.+' cannot be executed \(ceil_mode"
    ) as caught:
        session.infer()
    assert "report the operator" in caught.value.remedy


# Packages that are ready for an app: an image goes in, a label comes out.


class Colours(nn.Module):
    """Weights red, green and blue apart: 1×3×4×6 → 1×3."""

    def forward(self, x):
        return (x.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])).softmax(-1)


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
@pytest.mark.parametrize("labels", [["cat", "dog", "eel"], [7, 8, 9]])
def test_an_image_classifier(layout, labels, save):
    shape = (1, 3, 4, 6)
    path = save(
        Colours(),
        (torch.zeros(shape),),
        inputs=[
            ct.ImageType(
                name="image",
                shape=shape,
                scale=1 / 255.0,
                bias=[0.1, 0.2, -0.3],
                color_layout=ct.colorlayout[layout],
            )
        ],
        classifier_config=ct.ClassifierConfig(labels),
    )
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    ordered = image if layout == "RGB" else image[..., ::-1]
    planes = ordered.transpose(2, 0, 1)[None] / 255 + np.reshape([0.1, 0.2, -0.3], (1, 3, 1, 1))
    wanted = Colours()(torch.from_numpy(planes.astype(np.float32))).numpy()[0]

    session = mil.open_session(SessionRequest(path, {"image": image}))
    assert session.class_labels == tuple(labels)
    session.infer()
    outputs = session.outputs()
    assert outputs["classLabel"].item() == labels[int(wanted.argmax())]
    np.testing.assert_allclose(outputs["classLabel_probs"], wanted, atol=1e-6)
    assert mil.operations(path)[-1].attributes["classes"] == labels


@pytest.mark.parametrize(
    "image", [np.zeros((3, 4, 6), np.uint8), np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3))]
)
def test_an_image_that_does_not_fit(image, save):
    image_type = ct.ImageType(name="image", shape=(1, 3, 4, 6))
    path = save(Colours(), (torch.zeros(1, 3, 4, 6),), inputs=[image_type])
    with pytest.raises(EngineError, match=r"takes uint8 \(4, 6, 3\)"):
        mil.open_session(SessionRequest(path, {"image": image}))


def test_a_grey_image(save):
    shape = (1, 1, 4, 6)
    image_type = ct.ImageType(name="image", shape=shape, color_layout=ct.colorlayout.GRAYSCALE)

    class Doubled(nn.Module):
        def forward(self, x):
            return x * 2

    path = save(Doubled(), (torch.zeros(shape),), inputs=[image_type])
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    session = mil.open_session(SessionRequest(path, {"image": image}))
    assert session.class_labels == ()
    session.infer()
    (result,) = session.outputs().values()
    np.testing.assert_array_equal(result[0, 0], image * 2.0)
