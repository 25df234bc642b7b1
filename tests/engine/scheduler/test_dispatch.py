"""Scheduling when no process can be created."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.base.paths import Home
from engine.runs.directory import RunDirectory
from engine.runs.run import RunStatus
from engine.scheduler import dispatch
from engine.spec.devices import CPU, Device
from tests.engine.scripted import ScriptedLauncher, scene


class NoMoreProcesses(ScriptedLauncher):
    """Refuses the first starts, like a kernel at its limit of processes."""

    refusals = 3

    def start(self, directory: RunDirectory, device: Device, num_threads: int | None, worker: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError("Resource temporarily unavailable")
        super().start(directory, device, num_threads, worker)


def test_a_start_that_keeps_failing_is_noted_once_and_succeeds_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Retries every few seconds would otherwise fill the run's events with copies."""
    monkeypatch.setattr(dispatch, "START_RETRY_SECONDS", 0.0)
    launcher = NoMoreProcesses()
    here = scene(Home(tmp_path / "home").create(), (CPU,), launcher=launcher)
    (run,) = here.submit(None)
    while launcher.refusals:
        here.supervisor.tick()
    here.supervisor.tick()

    reader = here.supervisor.reader
    assert reader.run(run).status is RunStatus.RUNNING
    notices = [event.text for event in reader.events(run) if event.kind == "notice"]
    assert notices == ["could not be started, tried again soon: Resource temporarily unavailable"]
