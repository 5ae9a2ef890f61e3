"""A planted task: where in the image something is, and what."""

from __future__ import annotations

from mvdeploy.records import TensorInfo
from mvdeploy.tasks import Column, Decision

TITLE = "finding a point"
IMAGE_SIZE = (32, 32)


def outputs(spec):
    batch = spec.batch
    return (
        TensorInfo("where", (batch, 2), "float32"),
        TensorInfo("what", (batch, spec.num_classes), "float32"),
    )


def named(result):
    where, what = result
    return {"where": where, "what": what}


def compare(wanted, got, rounded, spec):
    return Decision(bool((wanted["what"].argmax(-1) == got["what"].argmax(-1)).all()))


COLUMNS = (Column("Point", lambda one: "found" if one.agrees else "LOST"),)
