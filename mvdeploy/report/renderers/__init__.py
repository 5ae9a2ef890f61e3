"""Report formats, one file for each. The folder is the list.

A file declares ``EXTENSION`` of its files (without the dot), ``DESCRIPTION`` (half a sentence for
the help text), ``DEFAULT`` (whether it is written without being asked for), and::

    def render(view: View, folder: Path) -> tuple[Path, ...]

which writes its files into the folder, making it when it is missing, and returns their paths. What
is heavy is imported in there: the constants are read for every help text. A format that has a file
for each case says so with ``BY_CASE = True``, and can then be had of some cases only. One that can
show several runs on one page also has::

    def several(view: SeveralView, folder: Path) -> tuple[Path, ...]
"""

REQUIRED = ("EXTENSION", "DESCRIPTION", "DEFAULT", "render")
"""What every renderer's file has."""
