"""What links declare of how their devices are reached becomes options of the commands."""

from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from mvdeploy import links
from mvdeploy.cli import link_options
from mvdeploy.cli.commands import bench, compare, devices
from mvdeploy.links import LinkOption

SWITCH = LinkOption("--clean", "MVDEPLOY_TEST_CLEAN", "Build anew.")
VALUE = LinkOption("--team", "MVDEPLOY_TEST_TEAM", "Who signs.", "ID")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch):
    """Return a function that gives arguments to a command, and returns what links then find."""
    monkeypatch.setattr(links, "options", lambda: (SWITCH, VALUE))
    for option in (SWITCH, VALUE):
        # Set first, so that what the command leaves in the environment is undone.
        monkeypatch.setenv(option.variable, "")
        monkeypatch.delenv(option.variable)

    @click.command
    @link_options.options
    def command() -> None:
        pass

    def give(*arguments: str) -> list[str | None]:
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 0, done.output
        return [os.environ.get(SWITCH.variable), os.environ.get(VALUE.variable)]

    return give


def test_an_option_is_what_the_link_finds_in_its_environment(said) -> None:
    assert said("--team", "ABC", "--clean") == ["1", "ABC"]


def test_what_is_not_typed_leaves_the_environment_alone(
    said, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said() == [None, None]
    monkeypatch.setenv(VALUE.variable, "FROM THE SHELL")
    assert said() == [None, "FROM THE SHELL"]
    assert said("--team", "TYPED") == [None, "TYPED"]


@pytest.mark.parametrize("command", [bench.command, compare.command, devices.command])
def test_commands_that_reach_devices_have_the_options_of_all_links(command: click.Command) -> None:
    flags = {flag for parameter in command.params for flag in parameter.opts}
    declared = {option.flag for option in links.options()}
    assert {"--team-id", "--clean-app"} <= declared <= flags
