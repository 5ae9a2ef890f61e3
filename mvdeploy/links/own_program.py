"""A program of the user's own, called on a device: how it is started, and what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mvdeploy.errors import EngineError
from mvdeploy.links.outcome import Heard
from mvdeploy.links.session import Session
from mvdeploy.links.shell import last_line, quote
from mvdeploy.links.stream import Stream
from mvdeploy.records import Job
from mvdeploy.records.device import core_mask


class OwnProgram:
    """A program given with ``--runner``, on a device.

    Args:
        path: of it there.
        session: of the run.
        starting: commands that it is started after, in the same shell.
        log_mark: returns what `logged` needs to tell what was logged later.
        logged: returns what was logged since a mark.
    """

    def __init__(
        self,
        path: str,
        session: Session,
        starting: str,
        log_mark: Callable[[], str],
        logged: Callable[[str], str],
    ) -> None:
        self._path, self._session, self._starting = path, session, starting
        self._log_mark, self._logged = log_mark, logged

    def call(self, job: Job, arguments: Sequence[str], limit_s: float) -> tuple[Stream, str]:
        """Run it for a job.

        Args:
            job: that it is to do some of.
            arguments: its own.
            limit_s: seconds that it may take.

        Returns:
            its end, which has no exit status when the connection was lost, and what it wrote.

        Raises:
            EngineError: it did not end in time.
            DeviceUnavailable: the device is gone.
        """
        folders = [model.profile_to for model in job.models if model.profile_to is not None]
        session = self._session
        began = self._log_mark()
        bound = f"taskset {core_mask(job.cores)} " if job.cores else ""
        stream = session.execute(
            # Unless told otherwise it writes its profile to the folder that it is started in.
            f"mkdir -p {quote(session.folder, *folders)} && cd {quote(session.folder)} "
            f"&& {self._starting}",
            f"{bound}{quote(self._path, *arguments)} >{quote(session.of('stdout'))}",
            Heard(),
            limit_s,
        )
        if stream.timed_out:
            raise EngineError(
                f"The program given with --runner did not finish within {limit_s:g} s.",
                "Give more time with --time-limit, or measure fewer inferences.",
            )
        if stream.status is None:
            return stream, ""
        return stream, session.written("stdout") + session.written("stderr") + self._logged(began)

    def demand_success(self, stream: Stream, output: str) -> None:
        """Refuse what a call came to that failed.

        Raises:
            EngineError: it did.
        """
        if stream.exit_status:
            raise EngineError(
                f"The program given with --runner ended with exit status {stream.exit_status}: "
                f"{last_line(output)}.",
                "Try it on the device by hand, with --model_path and --num_executions.",
            )
