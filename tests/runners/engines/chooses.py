from __future__ import annotations

from mvdeploy.engines._fake import FORMATS, Session, read_profile, start, version

from mvdeploy.engines import with_chosen
from mvdeploy.plugins import Option

__all__ = ["FORMATS", "OPTIONS", "open_session", "options", "read_profile", "start", "version"]

OPTIONS = (Option("factor", "--factor", "What inputs are multiplied by.", metavar="N"),)


def options(threads):
    return {"threads": threads, "factor": "2"}


class _Multiplying(Session):
    """Multiplies its inputs by a number that can be chosen, and lays them out column by column."""

    def __init__(self, request):
        super().__init__(request.inputs)
        chosen = with_chosen(OPTIONS, options(request.threads), request.options)
        self._factor = int(chosen["factor"])
        self._names = request.outputs or tuple(request.inputs)

    def outputs(self):
        values = self._inputs.values()
        return {n: (self._factor * x).T for n, x in zip(self._names, values, strict=True)}


def open_session(request):
    return _Multiplying(request)
