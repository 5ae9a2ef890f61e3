"""One file or folder for each kind of device link; see `mvdeploy.links`."""
