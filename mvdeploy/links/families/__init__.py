"""One file or folder for each kind of device link; see `mvdeploy.links`."""

REQUIRED = ("RUNNER", "connect")
"""What every link's file has."""
