"""What a package says of itself, and writing it the same way every time."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import coremltools as ct

_NOT_OURS = ("executorch_debug_handle_mapping.json",)
"""What coremltools leaves in a package beside what its manifest lists."""

_DATED = "com.github.apple.coremltools.conversion_date"


def describe(model: ct.models.MLModel, facts: dict[str, str], author: str, license: str) -> None:
    """Fill in author, license, description, version and what mvdeploy knows."""
    model.short_description = facts["mvdeploy.model"]
    model.version = facts["mvdeploy.version"]
    if author:
        model.author = author
    if license:
        model.license = license
    for name, value in facts.items():
        model.user_defined_metadata[name] = value


def save(model: ct.models.MLModel, path: Path) -> None:
    """Write a package whose bytes depend on the program alone, not on the day or on chance."""
    metadata = model.get_spec().description.metadata.userDefined
    if _DATED in metadata:
        del model.user_defined_metadata[_DATED]
    model.save(str(path))
    for name in _NOT_OURS:
        (path / name).unlink(missing_ok=True)
    _name_items(path / "Manifest.json")
    _order(path)


def _name_items(manifest: Path) -> None:
    """Name the items of a package after what they are; coremltools takes random numbers."""
    content = json.loads(manifest.read_text())
    names = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"]))
        for old, item in content["itemInfoEntries"].items()
    }
    entries = {names[old]: item for old, item in content["itemInfoEntries"].items()}
    content["itemInfoEntries"] = dict(sorted(entries.items()))
    content["rootModelIdentifier"] = names[content["rootModelIdentifier"]]
    manifest.write_text(json.dumps(content, indent=4) + "\n")


def _order(path: Path) -> None:
    """Write the program with its maps in order; their order in memory is chance."""
    from coremltools.proto import Model_pb2

    (file,) = path.rglob("*.mlmodel")
    spec = Model_pb2.Model.FromString(file.read_bytes())
    file.write_bytes(spec.SerializeToString(deterministic=True))
