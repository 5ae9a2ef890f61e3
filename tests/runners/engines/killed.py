from __future__ import annotations

import os
import signal

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    os.kill(os.getpid(), signal.SIGKILL)
    return Session(request.inputs)
