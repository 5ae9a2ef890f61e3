"""Model families: one file or folder each; see `mvdeploy.models`."""
