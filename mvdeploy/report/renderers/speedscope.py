"""Timelines for speedscope, a file for each case.

Each thread is a profile. A frame's file is the category of the operator: speedscope gives frames of
one file neighbouring colours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.timeline import Span, Timeline, Track
from mvdeploy.analysis.view import View
from mvdeploy.report import timelines

EXTENSION = "json"
DESCRIPTION = "a timeline of each case for speedscope"
DEFAULT = False
BY_CASE = True

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``timelines/<case>.speedscope.json`` for every profiled case."""
    return timelines.write(view, folder, ".speedscope.json", _file)


def _file(view: View, case: CaseView, timeline: Timeline) -> dict[str, Any]:
    facts, frames = timelines.facts(view, case, timeline), _Frames(view)
    profiles = [
        _profile(track, timelines.thread(track, i), timeline.total_ns, frames)
        for i, track in enumerate(timeline.tracks, 1)
    ]
    return {
        "$schema": SCHEMA,
        "name": f"{timelines.title(view, case)}; times are {facts['times']}",
        "exporter": facts["made_by"],
        "activeProfileIndex": 0,
        "shared": {"frames": frames.listed},
        "profiles": profiles,
        "mvdeploy": facts,
    }


class _Frames:
    """What is on the stacks, each once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.listed: list[dict[str, str]] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, span: Span) -> int:
        """Return the index of the frame of a span."""
        category = timelines.category(self._view, span.operator)[1] if span.operator else ""
        key = (span.name, category)
        if key not in self._numbers:
            self._numbers[key] = len(self.listed)
            self.listed.append({"name": span.name} | ({"file": category} if category else {}))
        return self._numbers[key]


def _profile(track: Track, name: str, total_ns: float, frames: _Frames) -> dict[str, Any]:
    events = [
        {
            "type": "O" if edge.opens else "C",
            "frame": frames.number(edge.span),
            "at": timelines.microseconds(edge.at_ns),
        }
        for edge in track.edges()
    ]
    return {
        "type": "evented",
        "name": name,
        "unit": "microseconds",
        "startValue": 0,
        "endValue": timelines.microseconds(total_ns),
        "events": events,
    }
