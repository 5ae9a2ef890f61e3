"""What an evaluation says is derived from its counts."""

from __future__ import annotations

import dataclasses

import pytest

from mvdeploy.analysis import evaluated
from mvdeploy.records import Evaluation, codec
from mvdeploy.records.codec import RecordError
from mvdeploy.records.evaluation import (
    Agreement,
    LeftOut,
    Metric,
    PairAgreement,
    PairCounts,
    SubjectResult,
)
from mvdeploy.stats import proportions


def subject(name: str, *metrics: Metric, agreement: Agreement | None = None) -> SubjectResult:
    return SubjectResult(
        *(name, f"{name}.onnx", "00", "net", "onnx", "fp32", "engine 1", "", False),
        *(metrics, 0, agreement, "", 2_000_000_000),
    )


def evaluation(a: SubjectResult, b: SubjectResult, *pairs: PairCounts) -> Evaluation:
    return Evaluation(
        *("2026-01-01T00:00:00+00:00", "0.1.0", "classify", "data", "folders", 100, 100, 100),
        *(None, 0, 4_000_000_000, (a, b), pairs),
        (PairAgreement(0, 1, Agreement(0.9, 100, 90)),),
        (LeftOut("damaged", "x.jpg", "it is empty"), LeftOut("missing", "y.jpg", "")),
        {"0": "cat"},
    )


def shares() -> Evaluation:
    a, b = (Metric("top1", "top-1", hits / 100, hits) for hits in (70, 65))
    agreed = Agreement(0.99, 100, 99)
    return evaluation(
        subject("a", a, agreement=agreed), subject("b", b), PairCounts(0, 1, "top1", 62, 8, 3, 27)
    )


def test_shares_have_intervals_and_differences_are_paired() -> None:
    body = evaluated.summary(shares())
    first, second = body["subjects"]
    wilson = proportions.wilson(70, 100)
    assert first["top1"] == {"value": 0.7, "hits": 70, "n": 100, "ci": [wilson.low, wilson.high]}
    assert first["agreement"]["same"] == 99 and second["agreement"] is None
    assert first["inference"] == {"seconds": 2.0, "images_per_second": 50.0}
    assert body["decode"]["images_per_second"] == 25.0
    (pair,) = body["comparisons"]
    found = proportions.paired_difference(62, 8, 3, 27)
    assert pair["top1"]["difference"] == pytest.approx(-0.05)
    assert pair["top1"]["ci"] == [found.low, found.high]
    assert pair["top1"]["mcnemar"] == {
        "p": found.p,
        "both": 62,
        "only_a": 8,
        "only_b": 3,
        "neither": 27,
    }
    assert pair["agreement"]["ci"] is not None
    assert body["left_out"]["by_kind"] == {"damaged": 1, "missing": 1}
    assert body["left_out"]["items"][0]["what"] == "x.jpg"


def test_what_is_no_share_of_images_has_no_interval() -> None:
    a, b = (subject(name, Metric("map", "mAP", value)) for name, value in (("a", 0.3), ("b", 0.2)))
    body = evaluated.summary(evaluation(a, b))
    assert body["subjects"][0]["map"] == {"value": 0.3, "ci": None}
    (pair,) = body["comparisons"]
    assert pair["map"]["difference"] == pytest.approx(-0.1)
    assert pair["map"]["ci"] is None and pair["map"]["mcnemar"] is None
    assert evaluated.agreement(Agreement(0.97, 100, 40))["ci"] is None


def test_it_is_saved_and_read() -> None:
    text = codec.dumps(shares())
    assert codec.loads(Evaluation, text, "x") == shares()
    wrong = dataclasses.replace(shares().agreements[0].agreement, same=101)
    with pytest.raises(RecordError, match="agrees on 101 of 100 images"):
        codec.decode(Agreement, codec.encode(wrong))
