from __future__ import annotations

import ctypes
import resource

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    calls = []

    def infer():
        calls.append(None)
        if len(calls) > 4:
            ctypes.string_at(0)

    return Session(request.inputs, infer)
