"""What an evaluation says: shares with intervals, paired differences, throughput."""

from __future__ import annotations

import collections
from typing import Any

from mvdeploy.records.evaluation import (
    Agreement,
    Evaluation,
    LeftOut,
    Metric,
    PairCounts,
    SubjectResult,
)
from mvdeploy.stats import proportions

THROUGHPUT = (
    "Throughput of this evaluation, one image after another, with feeding and fetching: no "
    "latency. 'mvdeploy bench' measures that."
)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return all that an evaluation says, as plain values by name."""
    return {
        "task": evaluation.task,
        "data": evaluation.data,
        "layout": evaluation.layout,
        "n": evaluation.images,
        "found": evaluation.found,
        "chosen": evaluation.chosen,
        "limit": evaluation.limit,
        "seed": evaluation.seed,
        "level": proportions.LEVEL,
        "method": proportions.METHOD,
        "left_out": left_out(evaluation.left_out),
        "decode": _rate(evaluation.decode_ns, evaluation.images),
        "throughput_note": THROUGHPUT,
        "subjects": [_subject(one, evaluation.images) for one in evaluation.subjects],
        "comparisons": comparisons(evaluation),
        "class_names": evaluation.titles,
        "notes": list(evaluation.notes),
    }


def left_out(pieces: tuple[LeftOut, ...]) -> dict[str, Any]:
    """Return what could not be used: how much of each kind, and every piece."""
    kinds = collections.Counter(one.kind for one in pieces)
    return {
        "count": len(pieces),
        "by_kind": dict(kinds.most_common()),
        "items": [{"kind": p.kind, "what": p.what, "reason": p.reason} for p in pieces],
    }


def _subject(subject: SubjectResult, images: int) -> dict[str, Any]:
    measures = {metric.name: measure(metric, images) for metric in subject.metrics}
    return {
        "name": subject.name,
        "file": subject.file or None,
        "sha256": subject.sha256 or None,
        "model": subject.model or None,
        "format": subject.format or None,
        "precision": subject.precision or None,
        "engine": subject.engine,
        "device": subject.device or "host",
        "random_weights": subject.random_weights,
        "n": images,
        **measures,
        "not_finite": subject.not_finite,
        "agreement": agreement(subject.agreement) if subject.agreement else None,
        "agreement_unknown": subject.agreement_unknown or None,
        "inference": _rate(subject.inference_ns, images),
        "classes": [{"class": c.number, "value": c.value, "of": c.of} for c in subject.classes],
        "confusions": [
            {"class": c.truth, "said": c.said, "count": c.count} for c in subject.confusions
        ],
    }


def measure(metric: Metric, images: int) -> dict[str, Any]:
    """Return a measure; with its interval where it is a share of the images."""
    if metric.hits is None:
        return {"value": metric.value, "ci": None}
    found = proportions.wilson(metric.hits, images)
    return {
        "value": found.share,
        "hits": metric.hits,
        "n": images,
        "ci": [found.low, found.high],
    }


def agreement(found: Agreement) -> dict[str, Any]:
    """Return how much two say the same; with an interval where each image is a yes or a no."""
    yes_or_no = abs(found.value * found.of - found.same) < 1e-6 * max(found.of, 1)
    share = proportions.wilson(found.same, found.of)
    return {
        "value": found.value,
        "same": found.same,
        "n": found.of,
        "ci": [share.low, share.high] if yes_or_no else None,
    }


def comparisons(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return what each other subject is to the first."""
    found = []
    names = [subject.name for subject in evaluation.subjects]
    for pair in evaluation.agreements:
        own = [p for p in evaluation.pairs if (p.a, p.b) == (pair.a, pair.b)]
        a, b = (evaluation.subjects[n] for n in (pair.a, pair.b))
        differences = {
            one.name: two.value - one.value for one, two in zip(a.metrics, b.metrics, strict=False)
        }
        found.append(
            {
                "a": names[pair.a],
                "b": names[pair.b],
                "agreement": agreement(pair.agreement),
                **{
                    name: {"difference": value, "ci": None, "mcnemar": None}
                    for name, value in differences.items()
                },
                **{p.metric: paired(p) for p in own},
            }
        )
    return found


def paired(pair: PairCounts) -> dict[str, Any]:
    """Return the difference of two shares of the same images."""
    found = proportions.paired_difference(pair.both, pair.only_a, pair.only_b, pair.neither)
    return {
        "difference": found.difference,
        "ci": [found.low, found.high],
        "mcnemar": {
            "p": found.p,
            "both": pair.both,
            "only_a": pair.only_a,
            "only_b": pair.only_b,
            "neither": pair.neither,
        },
    }


def _rate(spent_ns: int, images: int) -> dict[str, float | None]:
    seconds = spent_ns / 1e9
    return {"seconds": seconds, "images_per_second": images / seconds if seconds else None}
