"""Model families: one file or folder each; see `mvdeploy.models`."""

REQUIRED = ("names", "describe", "defaults", "check", "preprocessing", "build")
"""What every family's file has."""
