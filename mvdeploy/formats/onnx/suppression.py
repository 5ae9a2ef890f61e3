"""Decoding and non-maximum suppression behind a network that detects, as operators of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import UsageError
from mvdeploy.formats import Subject
from mvdeploy.records import TensorInfo
from mvdeploy.tasks import detect

if TYPE_CHECKING:
    import onnx


PREFIX = "detections/"
"""Begins the names of all that is added, which is no module's."""

OUTPUTS = (
    TensorInfo(detect.FOUND_BOXES, (detect.MOST, detect.COORDINATES), "float32"),
    TensorInfo(detect.FOUND_SCORES, (detect.MOST,), "float32"),
    TensorInfo(detect.FOUND_CLASSES, (detect.MOST,), "int64"),
)
"""Of the program: the surest detection first, zeros at the end; boxes as shares of the image."""


def demand(subject: Subject) -> None:
    """Refuse a network that detects nothing, and other numbers of images than one.

    Raises:
        UsageError: says which.
    """
    names = [output.name for output in subject.outputs]
    if names != [detect.BOXES, detect.SCORES]:
        raise UsageError(
            f"--with-nms is for networks that detect, but this one returns {', '.join(names)}.",
            "Leave it out, or add --task detect.",
        )
    if subject.outputs[0].shape[0] != 1:
        raise UsageError(
            "--with-nms is for programs that take one image.",
            "Leave out --with-nms, or --batch and --dynamic-batch.",
        )


def add(graph: onnx.GraphProto, image_size: tuple[int, int]) -> None:
    """Put detections in the place of raw boxes and scores, in a graph that returns these.

    Args:
        graph: is changed.
        image_size: of the network's input, height and width.
    """
    import numpy as np
    from onnx import TensorProto, helper

    nodes = _Nodes(graph)
    anchors = detect.priors(image_size).astype(np.float32)
    sides, variances = anchors[:, 2:], np.array(detect.VARIANCES, np.float32)
    shift, grow = nodes.add("Split", [detect.BOXES], count=2, axis=2, num_outputs=2)
    shifted = nodes.one("Mul", [shift, nodes.constant("centre_steps", sides * variances[0])])
    centres = nodes.one("Add", [shifted, nodes.constant("centres", anchors[:, :2])])
    scaled = nodes.one("Mul", [grow, nodes.constant("size_variance", variances[1])])
    most = nodes.constant("most_grown", np.float32(detect.MOST_GROWN))
    factors = nodes.one("Exp", [nodes.one("Min", [scaled, most])])
    halves = nodes.one("Mul", [factors, nodes.constant("half_sides", sides / 2)])
    low, high = nodes.one("Sub", [centres, halves]), nodes.one("Add", [centres, halves])
    corners = nodes.one("Concat", [low, high], axis=2)

    shares = nodes.one("Transpose", [nodes.one("Softmax", [detect.SCORES], axis=2)], perm=(0, 2, 1))
    first, last = nodes.integers("first_class", [1]), nodes.integers("last_class", [2**31])
    objects = nodes.one("Slice", [shares, first, last, first])
    chosen = nodes.one(
        "NonMaxSuppression",
        [
            corners,
            objects,
            nodes.integers("most_of_class", [detect.MOST]),
            nodes.constant("most_overlap", np.array([detect.MOST_OVERLAP], np.float32)),
            nodes.constant("least_score", np.array([detect.LEAST_SCORE], np.float32)),
        ],
    )

    def column(number: int) -> str:
        return nodes.one("Gather", [chosen, nodes.scalar(f"column_{number}", number)], axis=1)

    room = {
        detect.FOUND_SCORES: nodes.constant("no_scores", np.zeros(detect.MOST, np.float32)),
        detect.FOUND_BOXES: nodes.constant("no_boxes", np.zeros((detect.MOST, 4), np.float32)),
        detect.FOUND_CLASSES: nodes.constant("no_classes", np.zeros(detect.MOST, np.int64)),
    }
    found = {
        detect.FOUND_SCORES: nodes.one("GatherND", [objects, chosen]),
        detect.FOUND_BOXES: nodes.one(
            "Gather", [nodes.one("Squeeze", [corners, nodes.integers("images", [0])]), column(2)]
        ),
        detect.FOUND_CLASSES: nodes.one("Add", [column(1), nodes.scalar("background", 1)]),
    }
    filled = {
        name: nodes.one("Concat", [values, room[name]], axis=0) for name, values in found.items()
    }
    count = nodes.integers("most", [detect.MOST])
    scores = filled.pop(detect.FOUND_SCORES)
    places = f"{PREFIX}order"
    nodes.make("TopK", [scores, count], [detect.FOUND_SCORES, places], axis=0)
    for name, values in filled.items():
        nodes.make("Gather", [values, places], [name], axis=0)

    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    del graph.output[:]
    for tensor in OUTPUTS:
        kind = kinds[tensor.dtype]
        graph.output.append(helper.make_tensor_value_info(tensor.name, kind, tensor.shape))


class _Nodes:
    """Adds nodes and constants to a graph, with names that say what they are for."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def make(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **fields: Any) -> None:
        """Add a node with these outputs."""
        from onnx import helper

        name = f"{PREFIX}{kind}_{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, inputs, outputs, name=name, **fields))

    def add(self, kind: str, inputs: Sequence[str], *, count: int, **fields: Any) -> list[str]:
        """Add a node, and return the names of its outputs."""
        stem = f"{PREFIX}{kind.lower()}_{len(self._graph.node)}"
        outputs = [f"{stem}_{number}" for number in range(count)]
        self.make(kind, inputs, outputs, **fields)
        return outputs

    def one(self, kind: str, inputs: Sequence[str], **fields: Any) -> str:
        """Add a node with one output, and return its name."""
        return self.add(kind, inputs, count=1, **fields)[0]

    def constant(self, name: str, values: Any) -> str:
        """Add a constant, and return its name."""
        import numpy as np
        from onnx import numpy_helper

        full = f"{PREFIX}{name}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), full))
        return full

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a constant of whole numbers."""
        import numpy as np

        return self.constant(name, np.array(values, np.int64))

    def scalar(self, name: str, value: int) -> str:
        """Add a constant that is a single whole number."""
        import numpy as np

        return self.constant(name, np.int64(value))
