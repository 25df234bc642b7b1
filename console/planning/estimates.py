"""What runs are expected to take on this machine, by its past runs and by probes of its devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

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
from engine.spec.precision import Precision, native_for, resolve
from engine.spec.run import RunSpec
from engine.spec.settings import Settings, read_settings
from models.catalog import label

QUIET_PERCENT = 25.0
"""A device of which others use more is not free to be timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Devices, what was measured on each, and how far off estimates have been."""

    home: Home
    devices: tuple[Device, ...]
    paces: Mapping[str, Paces]
    """By a device's name."""
    queue: tuple[Run, ...] = ()
    """Running and queued runs, in queue order."""
    truths: tuple[Truth, ...] = ()
    seconds_around_training: float = 0.0
    """What a run takes beside its epochs: its worker's start and end."""
    settings: Settings = field(default_factory=Settings)
    """How many workers a device takes."""

    def device_for(self, spec: RunSpec) -> Device | None:
        """The first device that a run may go to; None where there is none such."""
        try:
            possible = candidates(spec.device, self.devices)
        except UsageError:
            return None
        return next((device for device in possible if can_compute(device, spec.recipe.precision)), None)

    def threads(self, device: Device, spec: RunSpec) -> range:
        """Numbers of CPU threads that a run may have on a device, as far as they change its pace."""
        if device != CPU:
            return range(sys.maxsize)
        asked = probes.threads_asked()
        share = num_threads(self.settings, device.name, spec.model)
        if share is None and asked is not None and asked.isdigit():
            share = int(asked)
        # What torch chooses is not known here, but more than one wherever it can.
        return range(min(2, num_cores()), sys.maxsize) if share is None else range(share, share + 1)

    def known_of(self, device: Device, spec: RunSpec) -> Paces:
        """What was measured on a device with the threads that a run would have there."""
        return self.paces[device.name].with_threads(self.threads(device, spec))

    def is_busy(self, device: Device) -> bool:
        """Whether a run is trained on it just now."""
        return any(run.status == "running" and run.device == device.name for run in self.queue)

    def estimate(self, spec: RunSpec) -> Estimate | None:
        """What a run will take on the first device that it may go to; None where nothing is known of the like."""
        device = self.device_for(spec)
        if device is None:
            return None
        num_train, num_test, _ = datasets.describe(self.home, spec.data.name)
        precision = precision_on(device, spec)
        return self.known_of(device, spec).estimate(spec, precision, num_train=num_train, num_test=num_test)

    def estimated(self, planned: Sequence[NewRun]) -> list[NewRun]:
        """The runs with what each is expected to take; runs that differ by their seeds alone take equally long."""
        known: dict[RunSpec, Estimate | None] = {}
        for run in planned:
            key = msgspec.structs.replace(run.spec, seed=0)
            if key not in known:
                known[key] = self.estimate(run.spec)
        return [
            msgspec.structs.replace(run, estimate=known[msgspec.structs.replace(run.spec, seed=0)]) for run in planned
        ]

    def with_probes(self, device: Device, found: Sequence[Pace]) -> Knowledge:
        """The same, with probes of a device that were made just now."""
        known = self.paces[device.name]
        # Of this moment, and asked for: they count before the history of other moments.
        fresh = {pace.workload for pace in found}
        past = [pace for pace in known.past if pace.workload not in fresh]
        changed = Paces(past=past, probes=[*known.probes, *found], torch=known.torch, errors=known.errors)
        return replace(self, paces={**self.paces, device.name: changed})


def precision_on(device: Device, spec: RunSpec) -> Precision:
    """What a run is computed in on a device that does it natively."""
    return resolve(spec.recipe.precision, native_for(spec.model, device.native), device.name)


def gather(home: Home, *, with_kept_probes: bool = True) -> Knowledge:
    """Everything that is known of the time that runs take here.

    Args:
        home: With the index, and probes of earlier commands.
        with_kept_probes: Whether to go by those probes as well.
    """
    past: list[Pace] = []
    truths: list[Truth] = []
    queue: list[Run] = []
    around = 0.0
    try:
        with read(home) as reader:
            past, truths, queue = reader.paces(), reader.truths(), reader.unfinished_runs()
            around = reader.seconds_around_training()
    except DepthscopeError:
        # An index of another version, or one that is locked: whoever needs it says so; estimates do without.
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
        settings=read_settings(home),
    )


def probe(knowledge: Knowledge, planned: Sequence[NewRun], *, again: bool, report: Callable[[str], None]) -> Knowledge:
    """Time a few steps of every network of which nothing exact is known, and keep what was found for later commands.

    Args:
        knowledge: So far.
        planned: The runs.
        again: Whether to time also what is known.
        report: Is told what goes on, a line at a time.
    """
    asked: dict[str, dict[Workload, Task]] = {}
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
        asked.setdefault(device.name, {}).setdefault(workload, task)
    for device in knowledge.devices:
        if tasks := list(asked.get(device.name, {}).values()):
            knowledge = probe_device(knowledge, device, tasks, report)
    return knowledge


def probe_device(
    knowledge: Knowledge, device: Device, tasks: Sequence[Task], report: Callable[[str], None]
) -> Knowledge:
    """Probe networks on one device; where it has other work, that is said, and nothing is kept."""
    networks = "1 network" if len(tasks) == 1 else f"{len(tasks)} networks"
    report(f"probing {networks} on {device.name}, at most about {15 * len(tasks)} s")
    trouble = trouble_with(device, knowledge)
    if trouble is not None:
        report(f"{trouble}: this probe is slower than a device that is free, and is not kept for later")

    def tell(task: Task, answer: Pace | NoPace) -> None:
        words = answer.reason if isinstance(answer, NoPace) else step_words(answer.seconds_per_step)
        report(f"  {label(task.spec.model)}: {words}")

    found = probes.probe_all(knowledge.home.create(), device, tasks, tell)
    if trouble is None:
        probes.keep(knowledge.home, found)
    return knowledge.with_probes(device, found)


def trouble_with(device: Device, knowledge: Knowledge) -> str | None:
    """Why a device is not free to be timed; None where it is."""
    if knowledge.is_busy(device):
        return f"{device.name} trains a run just now"
    used = busy_percent(device)
    if used is not None and used > QUIET_PERCENT:
        return f"other programs use {used:.0f} % of {device.name}"
    return None


def step_words(seconds: float) -> str:
    """How long a step takes."""
    return f"{seconds:.2f} s a step" if seconds >= 1 else f"{1000 * seconds:.3g} ms a step"
