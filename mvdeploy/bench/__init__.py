"""Device + Plan → Measurement: what is run, in which order and how often.

Blind to engines and devices: it gives jobs to a `Link` and gets samples back.

``schedule``
    the order of inferences: blocks of one case for its latency, single turns for comparisons.
``measure``
    probes every case alone, then runs the sessions.
``profile``
    one job with the engine's profiler.
"""
