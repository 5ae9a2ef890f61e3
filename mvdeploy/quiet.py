"""Keep back what libraries say about themselves, and of their use."""

from __future__ import annotations

import functools
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr


@contextmanager
def quiet(*, errors: bool = False) -> Iterator[None]:
    """Silence log lines, warnings and progress bars of torch, ExecuTorch and coremltools.

    Args:
        errors: silence all that they log, warn of and print to the standard error: for a library
            whose absence of parts that are not needed is an error to it, and for one that says of a
            failure more than its exception does.
    """
    from tqdm import tqdm

    disabled, bar = logging.root.manager.disable, tqdm.__init__
    logging.disable(logging.CRITICAL if errors else logging.WARNING)
    tqdm.__init__ = functools.partialmethod(bar, disable=True)
    try:
        with warnings.catch_warnings(), ExitStack() as stack:
            if errors:
                stack.enter_context(redirect_stderr(io.StringIO()))
                warnings.simplefilter("ignore")
            # torch 2.13 copies its own deprecated tree specifications.
            warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            # coremltools leaves its folder of weights to the garbage collector.
            warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
            yield
    finally:
        tqdm.__init__ = bar
        logging.disable(disabled)


@contextmanager
def without(module: str) -> Iterator[None]:
    """Have what is imported inside find that a module is not installed, unless it is imported."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def muted() -> Iterator[None]:
    """Keep back what native code prints to the standard error, by its number."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
