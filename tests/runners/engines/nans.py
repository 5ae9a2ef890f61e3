from __future__ import annotations

import numpy as np
from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

__all__ = ["FORMATS", "open_session", "read_profile", "start", "version"]


class _NaNs(Session):
    """Computes no numbers."""

    def outputs(self):
        return {name: np.full_like(x, np.nan) for name, x in super().outputs().items()}


def open_session(request):
    return _NaNs(request.inputs)
