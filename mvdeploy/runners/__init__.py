"""Runners: the programs that hold the timed loop, right beside the engine.

A runner is a process of its own. It reads one `Job` as JSON from its standard input and prints
events, one JSON object on each line, as `mvdeploy.records.job` describes them; its exit status is 0
after ``done`` and 4 after ``error``. Which program runs on a device is the device link's business.
"""
