"""Signals that ask a command to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

WAIT = """
import sys, time
from mvdeploy.cli import main
from mvdeploy.cli.commands import models

slow = float(sys.argv.pop())

def wait(**_):
    try:
        print("there", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(slow)

sys.argv.append("models")
models.command.callback = wait
main()
"""


def started(slow: float = 0, shell: str = "") -> subprocess.Popen[str]:
    """Start a command that waits, and then takes so many seconds to clean up."""
    process = subprocess.Popen(
        ["sh", "-c", f'{shell} exec "$0" "$@"', sys.executable, "-c", WAIT, str(slow)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "there\n"
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_a_command_like_an_interrupt(name: str) -> None:
    number, process = signal.Signals[name], started()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, "cleaning\n")
    first = "Interrupted." if name == "SIGINT" else f"Ended by {name}."
    assert err.strip() == f"Error: {first}\nWhat was finished before is saved."


def test_a_second_signal_ends_at_once_but_not_one_of_the_same_moment() -> None:
    process = started(slow=50)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    process.communicate()


def test_nohup_is_respected() -> None:
    process = started(shell="trap '' HUP;")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "Ended by SIGTERM." in err


@pytest.mark.parametrize("raised", ["ValueError('no matrix')", "UsageError('No.', 'Try.')"])
def test_a_library_that_makes_another_error_of_it_is_not_believed(raised: str) -> None:
    script = f"""
import os, signal, sys
from mvdeploy.cli import main
from mvdeploy.cli.commands import models
from mvdeploy.errors import UsageError

def wait(**_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise {raised} from None

sys.argv.append("models")
models.command.callback = wait
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "Error: Ended by SIGTERM.\nWhat was finished before is saved.\n"


LAST = """
import atexit, os, signal, sys
from mvdeploy.cli import main

atexit.register(lambda: [os.kill(os.getpid(), n) for n in (signal.SIGTERM, signal.SIGINT)])
sys.argv.append("--version")
main()
"""


def test_a_signal_after_the_work_is_done_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LAST], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mvdeploy, version")
