"""What ``mvdeploy`` and ``python -m mvdeploy`` start."""

from __future__ import annotations

import sys

_WINDOWS = """\
Error: mvdeploy runs on Linux and macOS, and this is Windows.
Use it by way of WSL: 'wsl --install' brings a Linux, and mvdeploy is installed in there.
"""


def main() -> None:
    """Run the command line, on a system that has what it takes; see `mvdeploy.cli.main`."""
    if sys.platform == "win32":
        # Before anything is imported that only these systems have.
        sys.stderr.write(_WINDOWS)
        sys.exit(2)
    from mvdeploy import cli

    cli.main()


if __name__ == "__main__":
    main()
