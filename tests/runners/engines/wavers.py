from __future__ import annotations

import os

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


class _Wavering(Session):
    """Computes something else in every process."""

    def outputs(self):
        return {name: x + os.getpid() for name, x in super().outputs().items()}


def open_session(request):
    return _Wavering(request.inputs)
