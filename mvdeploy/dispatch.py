"""Seeing every operator that runs, for a class of one's own; imports torch."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context whose ``__torch_dispatch__`` is called for each operator that runs in it.

    torch (2.13) otherwise keeps its compiler out of that method, for which it imports the whole
    compiler: half of the time that describing a network takes. Nothing is compiled here.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
