from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.models import zoo


def test_a_planted_library_is_found_by_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text("PREFIX, USAGE = 'nets', 'nets:NUMBER'")
    monkeypatch.setattr(zoo, "__path__", [*zoo.__path__, str(tmp_path)])
    found = zoo.find("nets:3")
    assert found is not None and found.__name__ == "mvdeploy.models.zoo.nets"
    assert zoo.usages() == ("FILE.py:FACTORY", "hf:TYPE", "nets:NUMBER", "timm:NAME")


@pytest.mark.parametrize("name", ["huggingface:vit", "timm:", "net.txt:make"])
def test_a_prefix_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' names no model") as caught:
        zoo.find(name)
    assert "timm:NAME" in caught.value.remedy


def test_a_plain_name_is_of_no_library() -> None:
    assert zoo.find("mobilevit_s") is None
