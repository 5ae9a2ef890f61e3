"""How many threads PyTorch and numpy compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, until the end of the context.

    How a sum is split over threads decides its last digits. And threads that wait for one another
    spin: where the cores are busy with something else, that takes most of the time.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(threads)
