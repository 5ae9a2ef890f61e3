"""Devices of many machines, by Dask distributed. Nothing else imports it.

Distributed connects the machines, says which there are, and has one function called on the one that
was chosen (`_work`). Its arguments are plain JSON: the task, the device, and by which sha256 the
files are known that were sent before. It neither keeps results nor chooses devices.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mvdeploy
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError, UsageError, reason
from mvdeploy.files import writing
from mvdeploy.pipeline.fleet import keys as key_files
from mvdeploy.pipeline.fleet import parcels
from mvdeploy.pipeline.fleet.child import error_of
from mvdeploy.pipeline.fleet.executors import Event
from mvdeploy.pipeline.fleet.machine import Machine
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.pipeline.fleet.turns import GivenUp
from mvdeploy.records import codec
from mvdeploy.records.fleet import Unit
from mvdeploy.text_format import join

try:
    import dask
    import distributed
except ImportError as error:
    raise key_files.missing(error) from error

VERSIONS = {
    "mvdeploy": mvdeploy.__version__,
    "schema": codec.SCHEMA_VERSION,
    "distributed": distributed.__version__,
}
"""What all machines of a cluster have to have the same."""

_ENTRY = "mvdeploy"
_CONNECT_S = 15.0
_REFRESH_S = 1.0
_TASKS = 64
"""Tasks that wait on one machine at most, for devices that others measure on."""

_SENDING = 8
"""Machines that files are sent to at once."""

TTL_S = 60.0
"""Seconds without a sign of life after which a machine counts as lost."""

dask.config.set(
    {
        "distributed.comm.timeouts.connect": f"{_CONNECT_S:g}s",
        "distributed.comm.timeouts.tcp": "30s",
        "distributed.scheduler.work-stealing": False,
        # Pages that anybody could read, and programs of others' configuration.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.scheduler.preload": [],
        "distributed.worker.preload": [],
        "distributed.worker.profile.enabled": False,
    }
)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a cluster is, and what it takes to be let in.

    Attributes:
        text: what is typed.
        keys: folder of the keys; None for a cluster without.
        insecure: whether it may be without beyond this machine.
    """

    text: str
    keys: Path | None = None
    insecure: bool = False

    @property
    def parts(self) -> tuple[str, str, int]:
        """Protocol, host and port.

        Raises:
            UsageError: it is no address, or would be open to others.
        """
        return key_files.address(self.text, keyed=self.keys is not None, insecure=self.insecure)

    @property
    def url(self) -> str:
        """The address as distributed has it."""
        protocol, host, port = self.parts
        return f"{protocol}://[{host}]:{port}" if ":" in host else f"{protocol}://{host}:{port}"

    @property
    def security(self) -> distributed.Security | None:
        """Certificates that both sides have to show.

        Raises:
            UsageError: the folder has no keys.
        """
        if self.keys is None:
            return None
        found = key_files.read(self.keys)
        own = {
            f"tls_{role}_{what}": str(found[name])
            for role in ("scheduler", "worker", "client")
            for what, name in (("cert", key_files.CERTIFICATE), ("key", key_files.KEY))
        }
        ca = str(found[key_files.AUTHORITY])
        return distributed.Security(require_encryption=True, tls_ca_file=ca, **own)


# What connects the machines


def schedule(address: Address, on_ready: Any, ttl_s: float = TTL_S) -> None:
    """Connect the machines of a cluster, until it is interrupted.

    Args:
        address: to listen at.
        on_ready: is told the address once it listens.
        ttl_s: see `TTL_S`.

    Raises:
        UsageError: it cannot listen there.
    """
    _quiet()
    protocol, host, port = address.parts
    security = address.security

    async def serve() -> None:
        scheduler = distributed.Scheduler(
            host=host,
            port=port,
            protocol=protocol,
            security=security,
            worker_ttl=ttl_s,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        )
        async with scheduler:
            scheduler.task_metadata[_ENTRY] = VERSIONS
            on_ready(scheduler.address)
            await scheduler.finished()

    try:
        asyncio.run(serve())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{address.url} cannot be listened at ({reason(error)}).",
            "Give an address of this machine with a port that is free.",
        ) from error


# A machine with devices

_machine: Machine | None = None
"""The machine of this process, which tasks are done on."""


def serve(address: Address, machine: Machine, on_ready: Any) -> None:
    """Offer the devices of a machine to a cluster, until it is interrupted.

    Args:
        address: of the cluster.
        machine: this one.
        on_ready: is told once its devices can be measured on.

    Raises:
        UsageError: the cluster is of another version.
        DeviceUnavailable: there is none, it lets nobody in with these keys, or it has ended.
    """
    global _machine
    with _client(address):
        pass  # refuses what does not belong together, and says why
    _machine = machine
    protocol, _, _ = address.parts

    async def work() -> None:
        with writing.temporary() as scratch:
            worker = distributed.Worker(
                address.url,
                nthreads=_TASKS,
                protocol=protocol,
                security=address.security,
                local_directory=str(scratch),
                memory_limit=0,
                heartbeat_interval="1s",
                death_timeout=_CONNECT_S,
                dashboard=False,
                dashboard_address="127.0.0.1:0",
                metrics={_ENTRY: lambda _: _announced(machine)},
            )
            async with worker:
                on_ready()
                try:
                    await worker.finished()
                finally:
                    machine.close()

    try:
        asyncio.run(work())
    except (OSError, TimeoutError, ValueError) as error:
        raise _unreachable(address, error) from error
    finally:
        machine.close()
    raise DeviceUnavailable(
        f"The cluster at {address.url} has ended.",
        "Start it again with 'mvdeploy cluster start', and this worker after it.",
    )


def _announced(machine: Machine) -> list[Any]:
    return [codec.encode(unit) for unit in machine.units]


def _this() -> Machine:
    """Return the machine whose worker this process is."""
    if _machine is None:
        raise RuntimeError("this process offers no devices")
    return _machine


def _work(order: dict[str, Any]) -> dict[str, Any]:
    """Do a task on this machine; see `Machine.work`. Runs in a worker."""
    worker = distributed.get_worker()
    own = worker.get_current_task()
    machine = _this()

    def tell(step: str) -> None:
        worker.log_event(order["topic"], {"key": order["key"], "step": step})

    def given_up() -> bool:
        # Distributed does not end what runs; it only takes note that nobody wants it any more.
        state = worker.state.tasks.get(own)
        return state is None or state.state == "cancelled"

    try:
        return machine.work(order, tell, given_up)
    except GivenUp:
        return {"lost": "it was given up"}


def _lacking(sent: list[str], exports: list[str]) -> tuple[list[str], list[str]]:
    """Say what was not sent to this machine before. Runs in a worker."""
    return _this().lacking(sent, exports)


def _take(sent: dict[str, bytes], exports: dict[str, bytes]) -> list[Any] | None:
    """Keep what is sent; return why it cannot be. Runs in a worker."""
    try:
        _this().take(sent, exports)
    except MvdeployError as error:
        return [error.message, error.remedy, error.exit_code]
    return None


# Who has tasks done


class ClusterExecutor:
    """Has tasks done on the machines of a cluster.

    Args:
        address: of the cluster.

    Raises:
        UsageError: the cluster is of another version.
        DeviceUnavailable: there is none, or it lets nobody in with these keys.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._stack = contextlib.ExitStack()
        self._client = self._stack.enter_context(_client(address))
        self._topic = f"mvdeploy-{uuid.uuid4()}"
        self._client.subscribe_topic(self._topic, self._heard)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._tasks: dict[str, tuple[str, Any]] = {}
        self._sending = concurrent.futures.ThreadPoolExecutor(_SENDING)
        self._units: tuple[Unit, ...] = ()
        self._seen = float("-inf")
        self._lock = threading.Lock()

    def units(self) -> tuple[Unit, ...]:
        """Return the devices that there are now.

        Raises:
            DeviceUnavailable: the cluster is gone.
        """
        if time.monotonic() - self._seen > _REFRESH_S:
            self._refresh()
        return self._units

    def start(self, job: Assignment, unit: Unit, root: Path) -> None:
        """Have a task done on a device, whose machine is sent what it lacks first.

        Raises:
            UsageError: it needs what only this machine has.
        """
        if job.bound:
            raise UsageError(
                f"{job.bound[0]} is on this machine only, and another one measures.",
                "Export it with 'mvdeploy export', and measure the file.",
            )
        self._tasks[job.task.key] = unit.place, None
        self._sending.submit(self._send, job, unit, root)

    def next(self, timeout_s: float) -> Event | None:
        """Return what is to be told next; None if that is nothing for so long.

        Raises:
            DeviceUnavailable: the cluster is gone.
        """
        if time.monotonic() - self._seen > _REFRESH_S:
            self._refresh()
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if event.lost:
            self._refresh()  # with the cluster all tasks are lost, which is no machine's fault
        return event

    def cancel(self) -> None:
        """Interrupt all tasks; nothing more is told of them, as their machines clean up alone."""
        futures = [future for _, future in self._tasks.values() if future is not None]
        with contextlib.suppress(OSError, TimeoutError):
            self._client.cancel(futures, force=True)
        for key, (_, future) in [*self._tasks.items()]:
            self._end(Event(key, lost="it was interrupted"), future)

    def close(self) -> None:
        """End what is left of the tasks."""
        if self._tasks:
            self.cancel()
        self._sending.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(OSError, TimeoutError):
            self._stack.close()

    def _refresh(self) -> None:
        """See which machines there are, and which tasks were lost with theirs."""
        try:
            if self._client.status != "running":
                raise OSError("the connection is lost")
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError, RuntimeError, KeyError) as error:
            raise DeviceUnavailable(
                f"The cluster at {self._address.url} does not answer any more ({reason(error)}).",
                "Start it again with 'mvdeploy cluster start', and its workers.",
            ) from error
        self._seen = time.monotonic()
        self._units = tuple(
            dataclasses.replace(codec.decode(Unit, unit), place=place)
            for place, worker in workers.items()
            for unit in worker.get("metrics", {}).get(_ENTRY, ())
        )
        for key, (place, future) in [*self._tasks.items()]:
            if place not in workers:
                self._end(Event(key, lost="it does not answer any more"), future)
                if future is not None:
                    future.cancel(force=True)

    def _end(self, event: Event, future: Any) -> None:
        """Tell the last of a task, unless that was told, or it is done again since."""
        with self._lock:
            if self._tasks.get(event.key, ("", self))[1] is not future:
                return
            del self._tasks[event.key]
        self._events.put(event)

    def _heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, message = event
        self._events.put(Event(str(message["key"]), step=str(message["step"])))

    def _send(self, job: Assignment, unit: Unit, root: Path) -> None:
        key = job.task.key
        try:
            places = self._sent(job, unit.place)
            order = {
                "task": codec.encode(job.task),
                "unit": codec.encode(unit),
                "places": places,
                "topic": self._topic,
                "key": key,
            }
            future: Any = self._client.submit(
                _work,
                order,
                key=f"mvdeploy-{key[:16]}-{uuid.uuid4()}",
                workers=[unit.place],
                allow_other_workers=False,
                pure=False,
            )
        except MvdeployError as error:
            self._end(Event(key, error=error), None)
        except Exception as error:  # of a connection that breaks, and of what travels on it
            self._end(Event(key, lost=reason(error)), None)
        else:
            with self._lock:
                wanted = self._tasks.get(key) == (unit.place, None)
                if wanted:
                    self._tasks[key] = unit.place, future
            if wanted:
                future.add_done_callback(lambda done: self._done(key, done, root))
            else:  # interrupted, or lost, while it was sent
                future.cancel(force=True)

    def _sent(self, job: Assignment, place: str) -> dict[str, list[str]]:
        """Send a machine what it lacks; return by which sha256 and name it has each file."""
        packed: dict[str, tuple[str, bytes]] = {}
        for name, path in job.files.items():
            try:
                parcel = parcels.of_file(path)
            except OSError as error:
                raise UsageError(
                    f"{path} cannot be read ({error.strerror}).", "Give a file that can be."
                ) from error
            packed[name] = parcels.sha256(parcel), parcel
        by_sum = dict(packed.values())
        shelf = job.request.shelf
        exports = {} if shelf is None else {key: shelf.folder / key for key in job.exports}
        exports = {key: folder for key, folder in exports.items() if folder.is_dir()}
        asked = ([*by_sum], [*exports])
        lacking, unknown = self._client.run(_lacking, *asked, workers=[place])[place]
        if lacking or unknown:
            given = (
                {sha256: by_sum[sha256] for sha256 in lacking},
                {key: parcels.pack(exports[key]) for key in unknown},
            )
            refused = self._client.run(_take, *given, workers=[place])[place]
            if refused is not None:
                raise error_of(*refused)
        return {name: [sha256, job.files[name].name] for name, (sha256, _) in packed.items()}

    def _done(self, key: str, future: Any, root: Path) -> None:
        """Keep what a task came to, before anything else may go wrong."""
        if self._tasks.get(key, ("", None))[1] is not future:
            return  # it was lost, and is done again
        if future.status == "finished":
            event = self._result(key, future, root)
        elif future.status == "cancelled":
            event = Event(key, lost="it was cancelled")
        else:
            event = Event(key, lost=reason(future.exception(), named=True))
        self._end(event, future)

    def _result(self, key: str, future: Any, root: Path) -> Event:
        try:
            result = future.result()
            if "error" in result:
                return Event(key, error=error_of(*result["error"]))
            if "lost" in result:
                return Event(key, lost=str(result["lost"]))
            name = Path(str(result["run"])).name
            target = root / name
            number = 2
            while target.exists():  # of another machine, in the same second
                target, number = root / f"{name}-{number}", number + 1
            parcels.unpack(result["parcel"], target)
        except MvdeployError as error:
            return Event(key, error=error)
        except Exception as error:
            said = reason(error, named=True)
            told = EngineError(f"What came back cannot be used ({said}).", "Give it again.")
            return Event(key, error=told)
        finally:
            future.release()
        return Event(key, run=target.name)


@contextlib.contextmanager
def _client(address: Address) -> Iterator[distributed.Client]:
    """Connect to a cluster of the same version.

    Raises:
        UsageError: the cluster is of another version.
        DeviceUnavailable: there is none, or it lets nobody in with these keys.
    """
    _quiet()
    url, security = address.url, address.security
    try:
        client = distributed.Client(
            url, security=security, timeout=_CONNECT_S, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise _unreachable(address, error) from error
    try:
        try:
            found = client.get_metadata([_ENTRY], default={})
        except (OSError, TimeoutError) as error:
            raise _unreachable(address, error) from error
        _demand_same(address, found)
        yield client
    finally:
        with contextlib.suppress(Exception):  # a cluster that is gone
            client.close(timeout=2)


def _demand_same(address: Address, found: Mapping[str, Any]) -> None:
    if not found:
        raise UsageError(
            f"What answers at {address.url} is no cluster of mvdeploy.",
            "Start one there with 'mvdeploy cluster start'.",
        )
    other = [
        f"{name} {found.get(name, 'unknown')} there and {own} here"
        for name, own in VERSIONS.items()
        if found.get(name) != own
    ]
    if other:
        raise UsageError(
            f"The cluster at {address.url} is of another version: {join(other)}.",
            "Install the same on all machines.",
        )


def _unreachable(address: Address, error: BaseException) -> DeviceUnavailable:
    said = []
    cause: BaseException | None = error
    while cause is not None:
        said.append(f"{type(cause).__name__} {cause}")
        cause = cause.__cause__ or cause.__context__
    text = " ".join(said)
    if address.keys is not None and any(word in text for word in ("CERTIFICATE", "certificate")):
        return DeviceUnavailable(
            f"The cluster at {address.url} has other keys than {address.keys}.",
            "Give a copy of the folder that it was started with.",
        )
    lock = "without keys" if address.keys is None else f"with the keys in {address.keys}"
    return DeviceUnavailable(
        f"No cluster answers at {address.url} {lock} ({reason(error)}).",
        "Start one there with 'mvdeploy cluster start', and give the same keys as there.",
    )


def _quiet() -> None:
    """Say what goes wrong in words of our own only."""
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def units_of(address: Address) -> Sequence[Unit]:
    """Return the devices of a cluster.

    Raises:
        UsageError: the cluster is of another version.
        DeviceUnavailable: there is none, or it lets nobody in with these keys.
    """
    executor = ClusterExecutor(address)
    try:
        return executor.units()
    finally:
        executor.close()
