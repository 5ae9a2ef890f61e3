"""Statistics of latency samples: summaries, intervals within a run, and paired ratios.

Pure functions of samples. NumPy and SciPy are imported when a function needs them.
"""
