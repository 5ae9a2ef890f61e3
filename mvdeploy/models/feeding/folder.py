"""What a folder with a checkpoint says of the images that its network is fed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdeploy.models.feeding import Feed, image_processors, read_settings, timm_config

CONFIG = "config.json"
FILES = (CONFIG, image_processors.COMBINED_FILE, image_processors.FILE)
"""Files that may say it."""


def read(folder: Path) -> tuple[Feed, str] | None:
    """Return what is fed, and the name of the file that says so; None if none does.

    Raises:
        UsageError: a file is no JSON object, or says what mvdeploy does not know.
    """
    return said(
        {name: read_settings(folder / name) for name in FILES if (folder / name).is_file()}, folder
    )


def said(
    files: Mapping[str, Mapping[str, Any]], folder: Path, kind: str = ""
) -> tuple[Feed, str] | None:
    """Return the same of files that have been read.

    Args:
        files: their contents by name.
        folder: where they are.
        kind: class of the image processor, where neither its file nor the network's type says it.
    """
    config = files.get(CONFIG, {})
    nested = files.get(image_processors.COMBINED_FILE, {}).get("image_processor")
    if isinstance(nested, Mapping):
        settings, name = nested, image_processors.COMBINED_FILE
    elif image_processors.FILE in files:
        settings, name = files[image_processors.FILE], image_processors.FILE
    else:
        of_timm = config.get(timm_config.KEY)
        if not isinstance(of_timm, Mapping):
            return None
        return timm_config.read(of_timm, folder / CONFIG), CONFIG
    kind = str(config.get("model_type") or kind)
    return image_processors.read(settings, folder / name, kind), name
