from __future__ import annotations

import subprocess
import threading

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    # Not a daemon: the interpreter waits for it at its end.
    threading.Thread(target=subprocess.run, args=(["sleep", "1000000"],)).start()
    return Session(request.inputs)
