from __future__ import annotations

import os
import sys

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def _infer():
    print(
        "Traceback (most recent call last):\n  frame\nengine: fatal: the pool is dry",
        file=sys.stderr,
    )
    sys.stderr.flush()
    os._exit(3)


def open_session(request):
    return Session(request.inputs, _infer)
