"""Engine internals with fake workers that only a test starts and ends; no processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from engine.base.paths import Home
from engine.control.protocol import AnyRequest, Done, NewRun, Submit
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.journal import AnyEvent, JournalWriter
from engine.runs.run import Run, RunStatus
from engine.scheduler.handlers import handle
from engine.scheduler.supervisor import Supervisor
from engine.spec.devices import Device, MemoryReading
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.spec.settings import Settings
from models.catalog import model_spec

GPUS = (Device("cuda:0", "GPU-a"), Device("cuda:1", "GPU-b"))


class ScriptedLauncher:
    """Launches fake workers, which live from `start` until the test ends them."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.alive: set[str] = set()
        self.asked_to_stop: list[str] = []
        self.num_threads: dict[str, int | None] = {}
        self.status = "vanished"
        """How workers without an exit record ended."""

    def start(self, directory: RunDirectory, device: Device, num_threads: int | None, worker: str) -> None:
        directory.clear_exit()
        self.started.append((directory.id, device.name))
        self.alive.add(directory.id)
        self.num_threads[directory.id] = num_threads

    def is_alive(self, directory: RunDirectory) -> bool:
        return directory.id in self.alive

    def stop(self, directory: RunDirectory) -> None:
        self.asked_to_stop.append(directory.id)

    def kill(self, directory: RunDirectory) -> None:
        self.alive.discard(directory.id)

    def exit_status(self, directory: RunDirectory) -> str | None:
        return self.status

    def end(self, directory: RunDirectory, reason: ExitReason | None) -> None:
        """End a worker; reason None leaves no record, like a kill."""
        if reason is not None:
            directory.write_exit(reason, step=1)
        self.alive.discard(directory.id)


def spec_of(seed: int, device: str | None) -> RunSpec:
    """Create the spec of a scene's run."""
    return RunSpec(model=model_spec("he-plain", 8), seed=seed, device=device, recipe=recipe("quick"))


class Scene(SimpleNamespace):
    """One engine's internals."""

    home: Home
    launcher: ScriptedLauncher
    supervisor: Supervisor
    settings: Settings | None
    read_memory: Callable[[Device], MemoryReading]

    @property
    def started(self) -> list[tuple[str, str]]:
        """Run and device of every worker started so far."""
        return self.launcher.started

    def ask(self, request: AnyRequest) -> Done:
        """Send one request and let the engine act on it."""
        reply = handle(request, self.supervisor, started_at=0.0)
        assert isinstance(reply, Done)
        self.supervisor.tick()
        return reply

    def waiting(self) -> list[str]:
        """Names of the queued runs in queue order."""
        return [run.name for run in self.supervisor.reader.unfinished_runs() if run.status is RunStatus.QUEUED]

    def journal(self, run: str, *events: AnyEvent) -> None:
        """Append events to a run's journal, as a worker would."""
        writer = JournalWriter.open(self.supervisor.directory(run).journal)
        for event in events:
            writer.append(event)
        writer.close()

    def successor(self, devices: Sequence[Device] | None = None, *, index_lost: bool = False) -> Scene:
        """Start the home's next engine, which recovers the same workers."""
        self.supervisor.reader.close()
        self.supervisor.store.close()
        if index_lost:
            for path in self.home.root.glob("depthscope.db*"):
                path.unlink()
        found = scene(
            self.home, devices or self.supervisor.devices, self.settings, self.read_memory, launcher=self.launcher
        )
        found.supervisor.recover()
        return found

    def submit(self, *wanted: str | None) -> list[str]:
        """Queue a run for each given device; None allows any."""
        runs = tuple(NewRun(name=f"run{number}", spec=spec_of(number, device)) for number, device in enumerate(wanted))
        return list(self.ask(Submit(runs=runs)).runs)

    def end(self, run: str, reason: ExitReason | None) -> Run:
        self.launcher.end(self.supervisor.directory(run), reason)
        self.supervisor.tick()
        return self.supervisor.reader.run(run)


def plenty(_device: Device) -> MemoryReading:
    """Report a device with ample memory."""
    return MemoryReading(free_bytes=1 << 50, total_bytes=1 << 50)


def scene(
    home: Home,
    found: Sequence[Device],
    settings: Settings | None = None,
    read_memory: Callable[[Device], MemoryReading] = plenty,
    launcher: ScriptedLauncher | None = None,
) -> Scene:
    """Create engine internals for a home."""
    store = Store(home.database)
    launcher = launcher or ScriptedLauncher()
    supervisor = Supervisor(
        home, store, Reader(home.database, while_rebuilding=True), launcher, found, settings, read_memory
    )
    return Scene(home=home, launcher=launcher, supervisor=supervisor, settings=settings, read_memory=read_memory)
