from __future__ import annotations

import atexit
import ctypes
import resource

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    atexit.register(ctypes.string_at, 0)
    return Session(request.inputs)
