"""What links declare of how their devices are reached becomes options of the commands."""

from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from mvdeploy import links
from mvdeploy.cli import link_options
from mvdeploy.cli.commands import bench, compare, devices
from mvdeploy.links import registry
from mvdeploy.plugins import Option

SWITCH = Option("clean", "--clean", "Build anew.", variable="MVDEPLOY_TEST_CLEAN")
VALUE = Option("team", "--team", "Who signs.", "ID", variable="MVDEPLOY_TEST_TEAM")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch):
    """Return a function that gives arguments to a command, and returns what that is given."""
    for module in (links, registry):
        monkeypatch.setattr(module, "declared", lambda: (SWITCH, VALUE))
    received: list[dict[str, str]] = []

    @click.command
    @link_options.options
    @click.option("--other")
    def command(other: str | None, link_options: dict[str, str]) -> None:
        assert other == "x"
        received.append(link_options)

    def give(*arguments: str) -> dict[str, str]:
        before = dict(os.environ)
        done = CliRunner().invoke(command, [*arguments, "--other", "x"])
        assert done.exit_code == 0, done.output
        assert dict(os.environ) == before
        return received[-1]

    return give


def test_what_is_typed_is_one_value(given) -> None:
    assert given("--team", "ABC", "--clean") == {"team": "ABC", "clean": "True"}


def test_the_environment_says_what_is_not_typed(given, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given() == {}
    monkeypatch.setenv(VALUE.variable, "FROM THE SHELL")
    monkeypatch.setenv(SWITCH.variable, "")
    assert given() == {"team": "FROM THE SHELL"}
    assert given("--team", "TYPED") == {"team": "TYPED"}


@pytest.mark.parametrize("command", [bench.command, compare.command, devices.command])
def test_commands_that_reach_devices_have_the_options_of_all_links(command: click.Command) -> None:
    flags = [flag for parameter in command.params for flag in parameter.opts]
    declared = {option.flag for option in links.declared()}
    assert {"--team-id", "--clean-app", "--kit"} <= declared <= set(flags)
    assert len(flags) == len(set(flags))
