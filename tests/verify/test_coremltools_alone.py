from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from mvdeploy.quiet import quiet
from mvdeploy.verify import coremltools_alone as alone
with quiet(errors=True):
    alone.import_coremltools()
assert "coremltools" in sys.modules
print(*(name for name in alone._NEEDLESS if name in sys.modules))
import executorch
"""


def test_coremltools_is_imported_without_what_it_has_no_use_for() -> None:
    """In a new process: here everything is imported already."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
