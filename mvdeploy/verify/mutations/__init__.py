"""Faults put into copies of an export on purpose, to see that the check notices them.

A check that has never failed proves nothing. Each mutation is a fault that exporters, passes or
hand-written conversions have really made. `onnx` and `coreml` break the file itself;
`program` breaks the exported program that other formats are made from.
"""
