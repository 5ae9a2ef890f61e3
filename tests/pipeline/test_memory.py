"""How many iterations there is memory for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.pipeline import memory
from mvdeploy.records import Plan


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    memory.check(Plan(iterations=2000), 1, room=1_000_000)
    memory.check(Plan(), 100, room=0)  # bounded by time
    with pytest.raises(UsageError) as caught:
        memory.check(Plan(iterations=10_000_000), 2, room=1_000_000_000)
    assert caught.value.message == (
        "10,000,000 iterations of 2 cases take about 20,000 MB of memory, and there are 1,000 MB."
    )
    assert "at most 500,000 with --iterations" in caught.value.remedy
    memory.check(Plan(iterations=500_000), 2, room=1_000_000_000)


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/outer/inner", {"outer/memory.max": "9000", "outer/memory.current": "5000",
                             "outer/memory.stat": "anon 1\ninactive_file 500\n",
                             "outer/inner/memory.max": "max"}),
        ("5:memory:/outside", {"memory/memory.limit_in_bytes": "9000",
                               "memory/memory.usage_in_bytes": "5000",
                               "memory/memory.stat": "total_inactive_file 500\n"}),
    ],
    ids=["version 2", "version 1, in a container"],
)  # fmt: skip
def test_the_limit_of_a_container_counts(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    for name, text in {"proc/self/cgroup": f"{line}\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    for name, text in files.items():
        place = tmp_path / "sys/fs/cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert memory.available(tmp_path) == 4500


def test_a_machine_without_groups_has_what_it_has(tmp_path: Path) -> None:
    assert memory.available(tmp_path) > 4500
