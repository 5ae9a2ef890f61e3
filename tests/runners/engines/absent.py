from __future__ import annotations

import importlib.metadata

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start

__all__ = ["FORMATS", "Session", "read_profile", "start", "version"]


def version():
    return importlib.metadata.version("a-package-that-is-not-there")
