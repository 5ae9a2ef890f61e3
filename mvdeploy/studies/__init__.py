"""Studies: tables and figures of papers, each a file ``NAME.toml`` with its networks and numbers.

The folder is the registry; `MVDEPLOY_PLUGINS` names folders with a ``studies/`` of one's own. What
the keys mean is said at `mvdeploy.records.study.Study`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.records.study import Study


def names() -> tuple[str, ...]:
    """Return the names of all studies, sorted."""
    return tuple(sorted(_files()))


def get(name: str) -> Study:
    """Read a study.

    Raises:
        UsageError: there is none of this name, or its file cannot be used.
    """
    files = _files()
    if name not in files:
        raise plugins.unknown("study", name, tuple(sorted(files)))
    path = files[name]
    try:
        data = tomllib.loads(reading.text(path, what="a study", encoding="utf-8-sig"))
        return decode(Study, data, "study")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}).", "Correct its permissions, or remove it."
        ) from error
    except RecordError as error:
        raise UsageError(f"{path}: {error.message}", "Correct it, or remove it.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid TOML ({error}).", "Correct it, or remove it."
        ) from error


def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in plugins.folders(__name__):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found
