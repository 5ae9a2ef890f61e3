"""Runs as they are saved, made up; see `tests.saved_runs`."""

from tests.saved_runs import (
    eight,
    four,
    hostile_story,
    hostile_text,
    single,
    trouble,
    two,
    view_for,
)

__all__ = ["eight", "four", "hostile_story", "hostile_text", "single", "trouble", "two", "view_for"]
