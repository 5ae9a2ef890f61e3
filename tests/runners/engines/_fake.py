from __future__ import annotations

FORMATS = ("fake",)


def start():
    pass


def version():
    return "1.2"


def read_profile(artifact, path, runs):
    return ()


class Session:
    """Doubles its inputs at once; `infer` and the rest can be replaced."""

    def __init__(self, inputs, infer=lambda: None):
        self.infer = infer
        self._inputs = inputs

    def outputs(self):
        return {name: 2 * value for name, value in self._inputs.items()}

    def end_profile(self):
        return None
