from __future__ import annotations

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "options", "read_profile", "start", "version"]


def options(threads):
    return {"intra_op_num_threads": threads, "spinning": "off"}


def open_session(request):
    return Session(request.inputs)
