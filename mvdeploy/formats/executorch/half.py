"""Half precision in XNNPACK: what a backend says of it, and changes of type inside of delegates.

XNNPACK converts between float32 and float16, but ExecuTorch (1.5) gives it none of that: its
partitioner leaves changes of type outside, and its node visitor takes each for a change of layout.
Both are told here; files hold nothing that ExecuTorch's runtime does not have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from mvdeploy.errors import EngineError


@dataclasses.dataclass(frozen=True)
class Half:
    """What a backend has in half precision.

    Attributes:
        float32: operators that stay float32 there.
        rewritings: what is written otherwise, besides what always is.
    """

    float32: tuple[str, ...] = ()
    rewritings: tuple[str, ...] = ()


@contextmanager
def conversions() -> Iterator[None]:
    """Have changes between float32 and float16 taken, until the end of the context.

    Raises:
        EngineError: this ExecuTorch has not what is changed.
    """
    try:
        from executorch.backends.xnnpack._passes import channels_last_tagged_reshape_pass as layouts
        from executorch.backends.xnnpack.operators import node_visitor
        from executorch.backends.xnnpack.partition.config import generic_node_configs as configs

        replaced: list[tuple[Any, str, Any]] = [
            (configs.ToDimOrderCopyConfig, "check_constraints", _taking(configs)),
            (layouts.ChannelsLastTaggedReshapePass, "call", _naming(layouts)),
        ]
        visitors: dict[str, Any] = node_visitor._node_visitor_dict
        convolution = visitors[_CONVOLUTION]
        own = _as_they_are(convolution.define_tensor)
        replaced.append((convolution, "define_tensor", own))
        visitor = _visitor(node_visitor.NodeVisitor)
    except (ImportError, AttributeError, KeyError) as error:
        raise EngineError(
            f"This version of ExecuTorch has no changes of type to be taken ({error}).",
            "Install the version of executorch that mvdeploy asks for.",
        ) from error
    with ExitStack() as restore, mock.patch.dict(visitors, {_CONVERT: visitor}):
        for owner, name, value in replaced:
            restore.enter_context(mock.patch.object(owner, name, value))
        yield


_CONVOLUTION = "aten.convolution.default"
_CONVERT = "prims.convert_element_type.default"
"""What a change of type is called inside of a delegate, so that no pass takes it for a layout's."""


def _taking(configs: Any) -> Any:
    import torch

    real = configs.ToDimOrderCopyConfig.check_constraints
    floats = {torch.float32, torch.float16}

    def check_constraints(self: Any, node: Any, program: Any) -> bool:
        types = {node.args[0].meta["val"].dtype, node.meta["val"].dtype}
        if types == floats:
            return bool(self.check_common_constraints(node, program))
        return bool(real(self, node, program))

    return check_constraints


def _naming(layouts: Any) -> Any:
    from executorch.exir.dialects._ops import ops

    real = layouts.ChannelsLastTaggedReshapePass.call
    copy, convert = ops.edge.aten._to_copy.default, ops.edge.prims.convert_element_type.default

    def call(self: Any, module: Any) -> Any:
        for node in module.graph.nodes:
            given = node.args[0] if node.target == copy else None
            if given is not None and given.meta["val"].dtype != node.meta["val"].dtype:
                node.target, node.kwargs = convert, {}
                node.args = (given, node.meta["val"].dtype)
        module.recompile()
        return real(self, module)

    return call


def _as_they_are(real: Any) -> Any:
    """Return what writes weights of a convolution in their own type."""

    def define_tensor(self: Any, *given: Any, **kind: Any) -> None:
        real(self, *given, **{**kind, "force_fp32": False})

    return define_tensor


def _visitor(kind: Any) -> Any:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    class Convert(kind):  # type: ignore[misc]
        target = _CONVERT

        def define_node(self, node: Any, graph: Any, ids: dict[Any, int], handle: int) -> None:
            self.define_nodes_tensor_inputs_outputs(node, graph, ids)
            convert = schema.XNNConvert(input_id=ids[node.args[0]], output_id=ids[node], flags=0)
            graph.xnodes.append(schema.XNode(xnode_union=convert, debug_handle=handle))

    return Convert
