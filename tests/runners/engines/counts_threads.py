from __future__ import annotations

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "options", "read_profile", "start", "version"]


def options(threads):
    return {"threads": threads}


class _Counting(Session):
    """Computes something else with another number of threads."""

    def __init__(self, request):
        super().__init__(request.inputs)
        self._threads = request.threads

    def outputs(self):
        return {name: x * self._threads for name, x in super().outputs().items()}


def open_session(request):
    return _Counting(request)
