"""One file for each command; `mvdeploy.cli.COMMANDS` has their order and help lines."""
