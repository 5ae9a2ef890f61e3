"""Device + Plan → Measurement: what is run, in which order and how often.

Blind to engines and devices: it gives jobs to a `Link` and gets samples back.

``schedule``
    the order of inferences: blocks of one case for its latency, single turns for comparisons.
``sessions``
    probes every case of one engine alone, then runs the sessions that they share.
``rounds``
    has the sessions of several engines take turns, and pairs them.
``measure``
    does so until every median and every ratio is known, or the time is up.
``ahead``
    sessions that are planned before anything is known of the device, as of a page that is kept.
``profile``
    one job with the engine's profiler.
"""
