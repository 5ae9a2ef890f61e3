"""Runs as they are saved, made up; see `tests.saved_runs`."""

from tests.saved_runs import (
    eight,
    fleet_story,
    four,
    hostile_story,
    hostile_text,
    single,
    trouble,
    two,
    view_for,
)

__all__ = [
    "eight",
    "fleet_story",
    "four",
    "hostile_story",
    "hostile_text",
    "single",
    "trouble",
    "two",
    "view_for",
]
