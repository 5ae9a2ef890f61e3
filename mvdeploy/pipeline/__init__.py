"""The rooms put together: what the commands do, one line for each stage.

``export``
    spec → network → passes → file → parity → the file appears under its name.
``bench``
    specs and artifacts → exports → measurements → traces → a saved run.
``report``
    saved run → breakdowns → pages, tables and pictures.
"""
