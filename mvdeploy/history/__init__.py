"""Results of many runs in one file, by all that makes them alike; see `mvdeploy.history.store`."""
