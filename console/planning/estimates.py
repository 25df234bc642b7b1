"""Time estimates for runs on this machine, from past runs and probes of its devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from console.text.status import counted
from engine.base.errors import DepthscopeError, UsageError
from engine.base.paths import Home
from engine.client import read
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.estimates import probes
from engine.estimates.duration import Pace, Paces, Truth, Workload, errors_by_source
from engine.estimates.probes import NoPace, Task
from engine.runs.run import Run
from engine.spec.devices import CPU, Device, busy_percent, can_compute, candidates, device_name, find_devices
from engine.spec.estimate import Estimate
from engine.spec.places import num_cores, num_threads
from engine.spec.precision import Precision, resolve
from engine.spec.run import RunSpec
from engine.spec.settings import Settings, settings_and_problems
from models.catalog import label

QUIET_PERCENT = 25.0
"""Above this use by other programs, a device is too busy for timing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Devices, measured paces on each, and the accuracy of past estimates."""

    home: Home
    devices: tuple[Device, ...]
    paces: Mapping[str, Paces]
    """By device name."""
    queue: tuple[Run, ...] = ()
    """Running and queued runs, in queue order."""
    truths: tuple[Truth, ...] = ()
    seconds_around_training: float = 0.0
    """Time a run takes beyond its epochs, for its worker's start and end."""
    settings: Settings = field(default_factory=Settings)
    """Settings that determine the number of workers on a device."""

    def devices_for(self, spec: RunSpec) -> list[Device]:
        """Devices that a run may use, in order of preference."""
        try:
            possible = candidates(spec.device, self.devices)
        except UsageError:
            return []
        return [device for device in possible if can_compute(device, spec.recipe.precision)]

    def device_for(self, spec: RunSpec) -> Device | None:
        """First device that a run may use; None if no device is suitable."""
        return next(iter(self.devices_for(spec)), None)

    def threads(self, device: Device, spec: RunSpec) -> range:
        """Range of CPU thread counts with which past runs are comparable to a run on a device."""
        if device != CPU:
            return range(sys.maxsize)
        setting = probes.threads_asked()
        share = num_threads(self.settings, device.name, spec.model)
        if share is None and setting is not None and setting.isdigit():
            share = int(setting)
        # Torch's own choice is unknown here, but it is more than one if there are several cores.
        return range(min(2, num_cores()), sys.maxsize) if share is None else range(share, share + 1)

    def known_of(self, device: Device, spec: RunSpec) -> Paces:
        """Paces measured on a device with as many threads as the run would have there."""
        return self.paces[device.name].with_threads(self.threads(device, spec))

    def is_busy(self, device: Device) -> bool:
        """Whether a run is training on a device."""
        return any(run.status == "running" and run.device == device.name for run in self.queue)

    def estimate(self, spec: RunSpec) -> Estimate | None:
        """Estimate a run's time on the first device it may use; None without comparable measurements."""
        device = self.device_for(spec)
        if device is None:
            return None
        num_train, num_test, _ = datasets.describe(self.home, spec.data.name)
        precision = precision_on(device, spec)
        return self.known_of(device, spec).estimate(spec, precision, num_train=num_train, num_test=num_test)

    def estimated(self, planned: Sequence[NewRun]) -> list[NewRun]:
        """Add time estimates to planned runs; runs that differ only in their seeds share one."""
        known: dict[RunSpec, Estimate | None] = {}
        for run in planned:
            key = msgspec.structs.replace(run.spec, seed=0)
            if key not in known:
                known[key] = self.estimate(run.spec)
        return [
            msgspec.structs.replace(run, estimate=known[msgspec.structs.replace(run.spec, seed=0)]) for run in planned
        ]

    def with_probes(self, device: Device, found: Sequence[Pace]) -> Knowledge:
        """Copy with new probes of a device."""
        known = self.paces[device.name]
        # New probes were requested explicitly, so they take precedence over past runs.
        fresh = {pace.workload for pace in found}
        past = [pace for pace in known.past if pace.workload not in fresh]
        changed = Paces(past=past, probes=[*known.probes, *found], torch=known.torch, errors=known.errors)
        return replace(self, paces={**self.paces, device.name: changed})


def precision_on(device: Device, spec: RunSpec) -> Precision:
    """Precision that a run would use on a device."""
    return resolve(spec.recipe.precision, device.native, device.name)


def gather(home: Home, *, with_kept_probes: bool = True) -> Knowledge:
    """Collect everything known about the time runs take on this machine, with or without stored probes."""
    past: list[Pace] = []
    truths: list[Truth] = []
    queue: list[Run] = []
    around = 0.0
    try:
        with read(home) as reader:
            past, truths, queue = reader.paces(), reader.truths(), reader.unfinished_runs()
            around = reader.seconds_around_training()
    except DepthscopeError:
        # The index is locked or of another version. Commands that need it report that; estimates do without.
        pass
    kept = probes.read_kept(home) if with_kept_probes else []
    version, errors = probes.torch_version(), errors_by_source(truths)
    paces: dict[str, Paces] = {}
    found = find_devices()
    for device in found:
        name = device_name(device)
        here = [pace for pace in past if pace.device_name == name]
        newest = next((pace.torch for pace in here if probes.same_torch(pace.torch, version)), version)
        paces[device.name] = Paces(
            past=here, probes=[pace for pace in kept if pace.device_name == name], torch=newest, errors=errors
        )
    return Knowledge(
        home=home,
        devices=found,
        paces=paces,
        queue=tuple(queue),
        truths=tuple(truths),
        seconds_around_training=around,
        settings=settings_and_problems(home)[0],
    )


def probe(knowledge: Knowledge, planned: Sequence[NewRun], *, again: bool, report: Callable[[str], None]) -> Knowledge:
    """Time a few steps of networks without an exact measurement, or `again` of all, and store the results for later."""
    tasks_by_device: dict[str, dict[Workload, Task]] = {}
    for run in planned:
        device = knowledge.device_for(run.spec)
        if device is None:
            continue
        known = knowledge.known_of(device, run.spec)
        workload = Workload.of(run.spec, precision_on(device, run.spec))
        if not again and (known.past_of(workload) or any(pace.workload == workload for pace in known.probes)):
            continue
        num_train, num_test, _ = datasets.describe(knowledge.home, run.spec.data.name)
        task = Task(
            spec=run.spec,
            num_train=run.spec.data.train_images or num_train,
            num_test=run.spec.data.test_images or num_test,
            num_threads=num_threads(knowledge.settings, device.name, run.spec.model) if device == CPU else None,
        )
        tasks_by_device.setdefault(device.name, {}).setdefault(workload, task)
    for device in knowledge.devices:
        if tasks := list(tasks_by_device.get(device.name, {}).values()):
            knowledge = probe_device(knowledge, device, tasks, report)
    return knowledge


def probe_device(
    knowledge: Knowledge, device: Device, tasks: Sequence[Task], report: Callable[[str], None]
) -> Knowledge:
    """Probe networks on one device; if it is busy, report that and do not store the results."""
    report(f"probing {counted(len(tasks), 'network')} on {device.name}, at most about {15 * len(tasks)} s")
    busy = why_busy(device, knowledge)
    if busy is not None:
        report(f"{busy}: this probe will be too slow, so it is not stored for later")

    def report_pace(task: Task, answer: Pace | NoPace) -> None:
        result = answer.reason if isinstance(answer, NoPace) else step_time(answer.seconds_per_step)
        report(f"  {label(task.spec.model)}: {result}")

    found = probes.probe_all(knowledge.home.create(), device, tasks, report_pace)
    if busy is None:
        probes.keep(knowledge.home, found)
    return knowledge.with_probes(device, found)


def why_busy(device: Device, knowledge: Knowledge) -> str | None:
    """Reason why a device is too busy for timing; None if it is free."""
    if knowledge.is_busy(device):
        return f"a run is training on {device.name}"
    used = busy_percent(device)
    if used is not None and used > QUIET_PERCENT:
        return f"other programs use {used:.0f} % of {device.name}"
    return None


def step_time(seconds: float) -> str:
    """Time of a step: 1.25 s/step, 12.3 ms/step."""
    return f"{seconds:.2f} s/step" if seconds >= 1 else f"{1000 * seconds:.3g} ms/step"
