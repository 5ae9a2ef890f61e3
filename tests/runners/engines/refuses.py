from __future__ import annotations

from mvdeploy.engines._fake import FORMATS, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


def open_session(request):
    raise RuntimeError("no such operator: Fold\nin node 7")
