"""The tables of a report, as text, for every format that prints tables."""
