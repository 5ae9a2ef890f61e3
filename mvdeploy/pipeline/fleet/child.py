"""A task in a process of its own, and what it tells.

The process reads a `_Piece` from its first line of input, and writes events, one JSON object on a
line: ``{"step": text}``, and in the end ``{"run": folder}`` or ``{"error": [message, remedy,
exit status]}``. It is interrupted when its input ends, so that it does not outlive who started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, cast

from mvdeploy import started
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError, UsageError, reason
from mvdeploy.records import codec
from mvdeploy.records.fleet import Task, Unit

PROGRAM = (sys.executable, "-m", "mvdeploy.pipeline.fleet.child")

_INTERRUPTED = 130


@dataclasses.dataclass(frozen=True)
class _Piece:
    """What a child is told: the fields of `mvdeploy.pipeline.fleet.tasks.request`, with paths."""

    task: Task
    unit: Unit
    places: dict[str, str]
    root: str
    shelf: str | None
    shelf_size: int


@dataclasses.dataclass(frozen=True)
class Told:
    """What a child tells.

    Attributes:
        step: what begins.
        run: name of the folder with the run, which is complete.
        error: why there is none.
    """

    step: str = ""
    run: str = ""
    error: MvdeployError | None = None


class Child:
    """Has a task done.

    Args:
        task: the task.
        unit: the device.
        places: where the files that go with it are, by name.
        root: where the run gets its folder.
        shelf: folder of kept exports, and how large it may be; None for nowhere.
        program: what does it.
    """

    def __init__(
        self,
        task: Task,
        unit: Unit,
        places: Mapping[str, Path],
        root: Path,
        shelf: tuple[Path, int] | None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        folder, size = shelf or (None, 0)
        piece = _Piece(
            task,
            unit,
            {name: str(path.absolute()) for name, path in places.items()},
            str(root.absolute()),
            None if folder is None else str(folder),
            size,
        )
        # A session of its own: an interrupt at the terminal reaches it by its parent, once.
        self._process = subprocess.Popen(
            [*program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=started.environment(),
            start_new_session=True,
        )
        self._interrupted = False
        with contextlib.suppress(OSError):  # it has ended: `told` says so
            stdin = cast(IO[bytes], self._process.stdin)
            stdin.write(json.dumps(codec.encode(piece)).encode() + b"\n")
            stdin.flush()

    def told(self) -> Iterator[Told]:
        """Give what it tells, to its end: the last one has a run or an error."""
        ended = False
        with cast(IO[bytes], self._process.stdout) as lines:
            for line in lines:
                told = _read(line)
                if told is not None and not ended:
                    ended = not told.step
                    yield told
        status = self._process.wait()
        self._close()
        if not ended:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            yield Told(
                error=EngineError(
                    f"The process that measured ended {how}.",
                    "Run again with --debug; what it wrote on standard error says more.",
                )
            )

    def interrupt(self) -> None:
        """Ask it to end; asked again, end it."""
        number = signal.SIGKILL if self._interrupted else signal.SIGINT
        self._interrupted = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()


def _read(line: bytes) -> Told | None:
    try:
        data = json.loads(line)
        if "error" in data:
            message, remedy, status = map(str, data["error"])
            return Told(error=error_of(message, remedy, int(status)))
        return Told(step=str(data.get("step", "")), run=str(data.get("run", "")))
    except (ValueError, TypeError, AttributeError):
        return None


def error_of(message: str, remedy: str, status: int) -> MvdeployError:
    """Return an error that another process told of."""
    kinds = {kind.exit_code: kind for kind in (UsageError, DeviceUnavailable, EngineError)}
    return kinds.get(status, EngineError)(message, remedy)


def main() -> None:
    """Do the task that is read from standard input; runs in the child."""
    # What libraries print goes to standard error.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Also where who started it ignores interrupts, as in the background of a shell's script.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Unbuffered: a thread that waits in a buffer's lock keeps Python from ending.
    with open(0, "rb", buffering=0, closefd=False) as stream:
        line = stream.readline()
    threading.Thread(target=_end_with_input, daemon=True).start()

    def tell(**event: Any) -> None:
        with contextlib.suppress(OSError):
            print(json.dumps(event), file=events, flush=True)

    with started.remembered():
        try:
            tell(run=_measured(line, lambda step: tell(step=step)))
        except MvdeployError as error:
            tell(error=[error.message, error.remedy, error.exit_code])
        except KeyboardInterrupt as error:
            told = " ".join(getattr(error, "__notes__", ()))
            tell(error=["Interrupted.", told or "Nothing had been measured.", _INTERRUPTED])
        except Exception as error:
            import traceback

            traceback.print_exc()
            said = reason(error, named=True)
            tell(error=[f"mvdeploy itself failed ({said}).", "Please report it.", 4])


def _measured(line: bytes, on_step: Callable[[str], None]) -> str:
    from mvdeploy.pipeline import bench, refusals
    from mvdeploy.pipeline.fleet import tasks
    from mvdeploy.pipeline.kept_exports import Shelf

    piece = codec.decode(_Piece, json.loads(line))
    shelf = None if piece.shelf is None else Shelf(Path(piece.shelf), piece.shelf_size)
    places = {name: Path(path) for name, path in piece.places.items()}
    request = tasks.request(piece.task, piece.unit, places, Path(piece.root), shelf)
    refusals.demand_used(request)
    return bench.run(request, on_step).folder.name


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
