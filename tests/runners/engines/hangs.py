from __future__ import annotations

import os
import subprocess
import time

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    helper = subprocess.Popen(["sleep", "1000000"])
    part = request.path.with_suffix(".part")
    part.write_text(f"{os.getpid()} {helper.pid}")
    part.rename(request.path.with_suffix(".pids"))
    return Session(request.inputs, lambda: time.sleep(1_000_000))
