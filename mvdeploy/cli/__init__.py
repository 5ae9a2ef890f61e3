"""The command line: each command is a file in ``commands/``, imported only when it is asked for."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import sys
import traceback
from typing import NoReturn

import click

import mvdeploy
from mvdeploy import plugins, started
from mvdeploy.cli import completion, signals, streams
from mvdeploy.errors import MvdeployError, UsageError, reason

COMMANDS = {
    "models": "List the models that can be built.",
    "describe": "Show a model's stages: shapes, parameters, MACs, patches.",
    "convert": "Rewrite a checkpoint in another library's layout.",
    "devices": "List the devices that can be measured on.",
    "export": "Build, fold, export and verify a model.",
    "verify": "Compare an exported file with PyTorch, module by module.",
    "predict": "Show what an exported file says of a photograph.",
    "eval": "Say how often a file or a model is right on a data set.",
    "bench": "Measure models or exported files; write a report.",
    "compare": "Say which of two is faster, and how sure that is.",
    "sweep": "Measure over sizes, patches, threads; fit how latency grows.",
    "study": "Measure the networks of a paper's table, beside its numbers.",
    "report": "Render saved results again.",
    "history": "Keep results over time; find when a latency changed.",
    "cache": "List or clear the exports that are kept.",
    "completion": "Print what makes a shell complete commands and names.",
}
"""Verb → help line. The verb's file is ``mvdeploy/cli/commands/<verb>.py``."""

_TOO_MUCH = ("DefaultCPUAllocator", "Storage size calculation overflowed")
"""How torch says that there is not enough memory."""

_INTERNAL_ERROR = 70


class _Verbs(click.Group):
    """Imports a command's file when the command is used, and none of them for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise plugins.unknown("command", cmd_name, tuple(COMMANDS))
        module = importlib.import_module(f"{__name__}.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mvdeploy.__version__, "--version", prog_name="mvdeploy")
def cli() -> None:
    """Deploy light vision transformers, and measure where their latency goes."""


def main() -> NoReturn:
    """Run the command line and end the process.

    Exit status: 0 done; 1 a check failed; 2 wrong usage or input; 3 device not reachable; 4 an
    engine failed; 70 a defect of mvdeploy; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM.
    """
    debug = "--debug" in sys.argv[1:]
    # Exporters make millions of small objects that stay: looking for cycles among them so often
    # took a tenth of an export, and saved a twentieth of its memory.
    gc.set_threshold(100_000, 20, 20)
    if completion.asked():
        completion.answer(cli)
        sys.exit(0)
    streams.prepare()
    signals.prepare()
    try:
        with started.remembered():
            status = cli.main(prog_name="mvdeploy", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except MvdeployError as error:
        _fail(error.message, error.remedy, error.exit_code, debug)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "mvdeploy"
        message = error.format_message().rstrip(".")
        message += "" if message.endswith("?") else "."
        _fail(message, f"'{where} --help' lists what can be given.", 2, debug)
    except (KeyboardInterrupt, click.Abort):
        _fail(*signals.worded(), debug)
    except BrokenPipeError:
        # The reader of our output is gone; nobody is left to tell.
        streams.abandon()
        sys.exit(1)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except Exception as error:
        _fail(*_worded(error), debug)
    finally:
        signals.over()


def _worded(error: Exception) -> tuple[str, str, int]:
    """Return a message, a remedy and an exit status for what was not raised on purpose."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _TOO_MUCH):
        remedy = "Ask for less: fewer --iterations or classes, a smaller --image-size or batch."
        return "There is not enough memory for this.", remedy, UsageError.exit_code
    if isinstance(error, OSError):
        # What the disk or the system refuses is no defect, whoever asked.
        what = f"{error.filename} cannot be read or" if error.filename else "The output cannot be"
        remedy = "Make room there, or give a place that can be."
        if error.errno == errno.ENAMETOOLONG:
            remedy = "Give a shorter name."
        return f"{what} written ({error.strerror or error}).", remedy, UsageError.exit_code
    what = f"mvdeploy itself failed ({reason(error, named=True)})."
    return what, "Please report it with the output of --debug.", _INTERNAL_ERROR


def _fail(message: str, remedy: str, status: int, debug: bool) -> NoReturn:
    if signals.asked():  # what a library was interrupted in may be any error of its own
        message, remedy, status = signals.worded()
    # Standard error may be gone or full as well.
    with contextlib.suppress(OSError):
        if debug:
            traceback.print_exc()
        click.echo(f"Error: {message}\n{remedy}", err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            streams.abandon()
    sys.exit(status)
