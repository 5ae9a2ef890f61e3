"""What a program calls: `mvdeploy.export`, `bench`, `compare` and `load`, and what they return.

=============  ==================================================================
`export`       a network → a file that was verified
`bench`        networks and files → a saved run
`compare`      two of them, or two results → which is faster
`result`       a saved run: tables of pandas, figures, sentences; `load` reads one
=============  ==================================================================

They call `mvdeploy.pipeline` as the commands do, and refuse what these refuse, with the same
errors; nothing is printed. `mvdeploy` has their names.
"""
