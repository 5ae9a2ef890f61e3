"""Compressed weights: decompressed as coremltools itself does it, to the last bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from mvdeploy.engines import SessionRequest
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil
from mvdeploy.verify.mil import constants

with quiet(errors=True):
    import coremltools as ct
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.frontend.milproto import load as milproto
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression

OLD, NEW = ct.target.iOS16, ct.target.iOS18


def _palettize(**options):
    config = cto.OpPalettizerConfig(mode="kmeans", weight_threshold=0, **options)
    return functools.partial(
        cto.palettize_weights, config=cto.OptimizationConfig(global_config=config)
    )


def _quantize(**options):
    config = cto.OpLinearQuantizerConfig(weight_threshold=0, **options)
    return functools.partial(
        cto.linear_quantize_weights, config=cto.OptimizationConfig(global_config=config)
    )


def _prune(**options):
    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0, **options)
    return functools.partial(cto.prune_weights, config=cto.OptimizationConfig(global_config=config))


CASES = {
    "lut_4_bits_ios16": (OLD, [_palettize(nbits=4)], {"constexpr_lut_to_dense"}),
    "lut_6_bits_ios16": (OLD, [_palettize(nbits=6)], {"constexpr_lut_to_dense"}),
    "affine_ios16": (OLD, [_quantize(mode="linear")], {"constexpr_affine_dequantize"}),
    "sparse_ios16": (OLD, [_prune()], {"constexpr_sparse_to_dense"}),
    "lut_3_bits_ios18": (NEW, [_palettize(nbits=3)], {"constexpr_lut_to_dense"}),
    "grouped_lut_ios18": (
        NEW,
        [_palettize(nbits=2, granularity="per_grouped_channel", group_size=4)],
        {"constexpr_lut_to_dense"},
    ),
    "vector_lut_ios18": (
        NEW,
        [_palettize(nbits=2, cluster_dim=4)],
        {"constexpr_lut_to_dense"},
    ),
    "int4_blocks_ios18": (
        NEW,
        [_quantize(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=8)],
        {"constexpr_blockwise_shift_scale"},
    ),
    "uint8_ios18": (
        NEW,
        [_quantize(mode="linear", dtype="uint8")],
        {"constexpr_blockwise_shift_scale"},
    ),
    "sparse_lut_ios18": (
        NEW,
        [_prune(), functools.partial(_palettize(nbits=4), joint_compression=True)],
        {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"},
    ),
    "sparse_int8_ios18": (
        NEW,
        [
            _prune(),
            functools.partial(_quantize(mode="linear_symmetric"), joint_compression=True),
        ],
        {"constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"},
    ),
}


@pytest.fixture(scope="module")
def plain(small, convert):
    """Return a function that converts the small network for a target."""
    network, image = small

    @functools.cache
    def make(target):
        return convert(
            network,
            (image,),
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT16,
            inputs=[ct.TensorType(name="image", shape=tuple(image.shape))],
            outputs=[ct.TensorType(name="logits")],
        )

    return make


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_coremltools(name, plain, save, small):
    target, steps, types = CASES[name]
    model = plain(target)
    with quiet(errors=True):
        for compress in steps:
            model = compress(model)
    path = save(model)

    found = _compressed(path)
    assert {operator.op_type for operator in found} == types
    known = mil.load(path).constants
    for operator in found:
        wanted = operator.materialized_val_inference()
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for output, values in zip(operator.outputs, wanted, strict=True):
            np.testing.assert_array_equal(known[output.name], values)
            assert known[output.name].dtype == values.dtype

    _, image = small
    session = mil.open_session(SessionRequest(path, {"image": image.numpy()}))
    session.infer()
    assert np.isfinite(session.outputs()["logits"]).all()


def _compressed(path):
    with quiet(errors=True):
        package = ct.models.MLModel(str(path), skip_model_load=True)
        spec = package.get_spec()
        program = milproto.load(
            spec,
            specification_version=spec.specificationVersion,
            file_weights_dir=package.weights_dir,
        )
    operators = program.functions["main"].operations
    return [operator for operator in operators if operator.op_type.startswith("constexpr_")]


RNG = np.random.default_rng(0)


def test_tables_of_vectors_in_groups():
    indices = RNG.integers(0, 4, (4, 6), dtype=np.uint8)
    lut = RNG.standard_normal((2, 3, 4, 2)).astype(np.float16)
    for axis in (0, 1, -1):
        wanted = compression.constexpr_lut_to_dense.decompress(indices, lut, axis)
        run = constants.DECOMPRESSIONS["constexpr_lut_to_dense"]
        got = run(lut=lut, indices=indices, vector_axis=np.int32(axis))
        np.testing.assert_array_equal(got, wanted)


def test_sparse_tables_of_vectors():
    mask = RNG.integers(0, 2, (4, 6), dtype=np.uint8)
    nonzero = RNG.integers(0, 4, mask.sum(), dtype=np.uint8)
    lut = RNG.standard_normal((1, 1, 4, 2)).astype(np.float32)
    wanted = compression.constexpr_lut_to_sparse.decompress(mask, nonzero, lut, 0)
    run = constants.DECOMPRESSIONS["constexpr_lut_to_sparse"]
    got = run(mask, nonzero, lut, vector_axis=np.int32(0))
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_sparse_data_is_scaled_by_its_place():
    # The example in coremltools' documentation of the operator.
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    data = np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8)
    scale = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    offset = np.array([[1, 2, 3, 4]], np.int8)
    run = constants.DECOMPRESSIONS["constexpr_sparse_blockwise_shift_scale"]
    same, values = run(mask, data, scale, offset)
    np.testing.assert_array_equal(same, mask)
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-6)


@pytest.mark.parametrize("offset", [None, np.int8([[3], [-2]])])
def test_blocks_are_shifted_and_scaled(offset):
    data = RNG.integers(-128, 128, (4, 6), dtype=np.int8)
    scale = np.array([[0.25], [0.031]], np.float16)
    wanted = compression.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    run = constants.DECOMPRESSIONS["constexpr_blockwise_shift_scale"]
    np.testing.assert_array_equal(run(data, scale, offset), wanted)


def test_a_cast_constant_is_widened():
    run = constants.DECOMPRESSIONS["constexpr_cast"]
    got = run(source_val=np.float16([0.1]), output_dtype="fp32")
    assert got.dtype == np.float32
    assert got[0] == np.float32(np.float16(0.1))


def test_weights_of_a_program_are_listed_decompressed(plain, save):
    with quiet(errors=True):
        model = _palettize(nbits=4)(plain(NEW))
    conv = next(o for o in mil.operations(save(model)) if o.type == "conv")
    assert conv.weights["weight"].shape == (16, 3, 3, 3)
