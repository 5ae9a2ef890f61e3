"""Runs as they are saved, made up; see `tests.saved_runs`."""

from tests.browser import browser
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
    "browser",
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
