"""Whole networks: MobileViT in its patch settings, in float32 and in halves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvdeploy import models, passes
from mvdeploy.engines import SessionRequest
from mvdeploy.quiet import quiet
from mvdeploy.records.spec import parse_patches
from mvdeploy.verify import mil

with quiet(errors=True):
    import coremltools as ct

MAX_ABS = 1e-4
MIN_SNR_DB = 45.0


def _check(save, model, patches, size, targets, formulation=passes.PLAIN):
    spec = models.make_spec(model, patches=parse_patches(patches), image_size=(size, size))
    network = models.build(spec).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        wanted = network(image).numpy()
    rewritten, _ = passes.apply(network, image, passes.FORMULATIONS[formulation])
    with quiet(errors=True), torch.no_grad():
        exported = torch.export.export(rewritten, (image,)).run_decompositions({})
    types = set()
    for target, precision in targets:
        path = save(
            exported,
            minimum_deployment_target=target,
            compute_precision=precision,
            inputs=[ct.TensorType(name="image", shape=tuple(image.shape))],
            outputs=[ct.TensorType(name="logits")],
        )
        types |= {operation.type for operation in mil.operations(path)}
        session = mil.open_session(SessionRequest(path, {"image": image.numpy()}))
        session.infer()
        difference = session.outputs()["logits"].astype(np.float64) - wanted
        if precision == ct.precision.FLOAT32:
            assert np.abs(difference).max() <= MAX_ABS
        else:
            snr_db = 10 * np.log10(np.square(wanted).sum() / np.square(difference).sum())
            assert snr_db >= MIN_SNR_DB
    return types


OLD_EXACT = (ct.target.iOS15, ct.precision.FLOAT32)
NEW_EXACT = (ct.target.iOS18, ct.precision.FLOAT32)
OLD_HALVES = (ct.target.iOS16, ct.precision.FLOAT16)
NEW_HALVES = (ct.target.iOS26, ct.precision.FLOAT16)


def test_mobilevit_xxs(save):
    types = _check(save, "mobilevit_xxs", "2,2,2", 64, [OLD_EXACT, NEW_HALVES])
    assert {"conv", "layer_norm", "softmax", "matmul"} <= types


def test_patches_that_need_resizing(save):
    types = _check(save, "mobilevit_xxs", "3,3,3", 128, [NEW_EXACT])
    assert "upsample_bilinear" in types


def test_the_channels_first_formulation(save):
    types = _check(save, "mobilevit_xxs", "2,2,2", 64, [OLD_HALVES], passes.CHANNELS_FIRST)
    assert {"pixel_unshuffle", "conv", "softmax"} <= types


EXACT = (ct.target.iOS16, ct.precision.FLOAT32)  # pixel_unshuffle came with iOS16


# Every pair of formulation and precision; the exports of tests/formats/test_coreml.py have every
# pair of model, patches and precision in the formulation that is usual. One is at the full size.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "patches", "size", "formulation", "target"),
    [
        ("mobilevit_xs", "4x2,2,2", 128, passes.CHANNELS_FIRST, EXACT),
        ("mobilevit_s", "3,3,3", 128, passes.CHANNELS_FIRST, NEW_HALVES),
        ("mobilevit_xxs", "2,2,2", 256, passes.PLAIN, EXACT),
    ],
    ids=["xs", "s", "full size"],
)
def test_variants(model, patches, size, formulation, target, save):
    _check(save, model, patches, size, [target], formulation)
