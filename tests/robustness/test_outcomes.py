"""The campaign notices what must not be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.robustness import campaign, damages, judges, outcomes, readers
from tests.robustness.judges import Trial
from tests.warm import Server

REFUSED = "net.onnx: run\nError: net.onnx is empty.\nExport the model again.\n"


def ended(status: int, err: str = "", out: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, out, err)


@pytest.mark.parametrize(
    ("process", "outcome"),
    [
        (ended(2, REFUSED), "refused"),
        (ended(0, "a.onnx: run\n"), ""),
        (ended(1, out="DOES NOT agree\n"), "noticed"),
        (ended(1), "unworded"),
        (ended(0, REFUSED), "unworded"),
        (ended(2, REFUSED + REFUSED), "unworded"),
        (ended(2, "Error: net.onnx is empty.\n"), "unworded"),
        (ended(2, "[E:onnxruntime:] no such thing\n" + REFUSED), "unworded"),
        (ended(2, REFUSED.replace("empty", "\x1b[31mred")), "unworded"),
        (ended(2, "Traceback (most recent call last):\n" + REFUSED), "traceback"),
        (ended(70, "Error: mvdeploy itself failed (KeyError: 3).\nReport it.\n"), "status"),
        (ended(-11), "crash"),
        (ended(-6, "terminate called"), "crash"),
        (ended(-24), "hang"),
        (None, "hang"),
    ],
)
def test_an_end_is_told_from_others(
    process: subprocess.CompletedProcess[str] | None, outcome: str
) -> None:
    assert outcomes.of_process(process).name == outcome


def trial(tmp_path: Path, server: Server, before: object, now: object, **more: str) -> Trial:
    """A document that is printed as it is."""
    for name, document in (("sound", before), ("copy", now)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(document))
    ends = ended(0, out=str(before)), ended(0, out=str(now), **more)
    homes = tmp_path / "sound", tmp_path / "copy"
    return Trial(*homes, "a.json", "value-0", *ends, ended(2, REFUSED), server)


@pytest.mark.parametrize(
    ("now", "more", "judged"),
    [
        ({"ms": [1.5, 2], "ns": [5, 8], "name": "a"}, {}, "harmless"),
        ({"ms": [1.6, 2], "name": "b"}, {}, "another"),
        ({"ms": [-1.5, 2], "name": "a"}, {}, "silent"),
        ({"ms": [-1.5, 2], "name": "a"}, {"err": "Warning: it is negative.\n"}, "noticed"),
        ({"ms": [1e25, 2], "name": "a"}, {}, "silent"),
        ({"ms": [1.5], "name": "a"}, {}, "silent"),
        ({"ms": [1.5, 2]}, {}, "another"),
        ({"ms": [1.5, 2], "name": "a", "more": 1}, {}, "silent"),
        ({"ms": ["1.5", 2], "name": "a"}, {}, "silent"),
        ({"ns": [7], "name": "a"}, {}, "another"),
        ({"ns": [-7], "name": "a"}, {}, "silent"),
        ({"ms": [], "name": "a"}, {}, "silent"),
    ],
)
def test_a_document_is_believed_only_if_it_may_be_true(
    warm: Server, tmp_path: Path, now: object, more: dict[str, str], judged: str
) -> None:
    before = {"ms": [1.5, 2], "ns": [5, 8], "name": "a"}
    tried = trial(tmp_path, warm, before, now, **more)
    assert judges.by_document(tried) == judged
    if judged == "another":
        assert judges.by_document(tried, checked=True) == "silent"


def test_models_are_run_again(warm: Server, sound_files: Path, tmp_path: Path) -> None:
    """One whose weights are others is no harmless one, whatever a command says of it."""
    reader = readers.find("onnx, against the sound one")
    subject = campaign.Subject(reader, warm, sound_files, tmp_path)
    judge = judges.by_outputs("net.onnx", "sound/net.onnx")
    fine = ended(0)
    judged = []
    for name in (f"weight-{i}" for i in range(12)):
        copy = tmp_path / name
        damages.copy(tmp_path / "pristine", copy)
        damages.apply(copy / "net.onnx", name, reader.name)
        here = Trial(tmp_path / "sound", copy, "net.onnx", name, fine, fine, None, warm)
        wrong = judge(here) == "silent"
        judged.append(wrong)
        if wrong:
            assert subject.row(f"net.onnx:{name}").outcome in ("noticed", "refused")
    assert 0 < sum(judged) < len(judged)


def test_a_damage_is_the_same_each_time(sound_files: Path, tmp_path: Path) -> None:
    copies = [tmp_path / name / "net.pt" for name in ("a", "b")]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes((sound_files / "net.pt").read_bytes())
        damages.apply(copy, "scatter-3", "seed")
    assert copies[0].read_bytes() == copies[1].read_bytes()
    assert copies[0].read_bytes() != (sound_files / "net.pt").read_bytes()


def test_what_is_executed_is_noticed(warm: Server, sound_files: Path, tmp_path: Path) -> None:
    """A network's own file may do what it likes: it stands on the command line."""
    reader = readers.find("file of a network")
    subject = campaign.Subject(reader, warm, sound_files, tmp_path)
    (tmp_path / "pristine/net.py").write_text(damages.EVIL)
    assert subject.row("net.py:flip-0").outcome != "executed"  # the damage is in a word of it
    assert subject.row("net.py:linetwice-0").outcome == "executed"
