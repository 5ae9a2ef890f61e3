"""Some damages of every kind of file: no traceback, no hang, nothing executed, nothing believed.

`benchmarks/robustness.py` tries thousands.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from tests.robustness import outcomes
from tests.robustness.campaign import Subject
from tests.robustness.readers import READERS, Reader
from tests.warm import Server

EACH = 3
AMONG = 200


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_is_damaged_is_refused_or_harmless(
    reader: Reader, warm: Server, sound_files: Path, tmp_path: Path
) -> None:
    subject = Subject(reader, warm, sound_files, tmp_path)
    names = list(itertools.islice(subject.names(), AMONG))
    count = min(EACH, reader.share // 10)
    rows = [subject.row(name) for name in random.Random(reader.name).sample(names, count)]
    assert [row for row in rows if row.outcome in outcomes.FORBIDDEN] == []
