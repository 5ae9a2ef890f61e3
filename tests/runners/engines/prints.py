from __future__ import annotations

import os
import sys

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def _print():
    print("garbage from Python")
    sys.stdout.flush()
    os.write(1, b"garbage from C\n")
    os.system("echo garbage from a child")


def open_session(request):
    _print()
    return Session(request.inputs, _print)
