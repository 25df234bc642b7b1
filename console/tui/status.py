"""Status of the engine and devices, read off the UI thread so that a hanging engine cannot block the console."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from console.text.formatting import byte_size, duration
from engine.base.errors import DepthscopeError, EngineUnreachable, UsageError
from engine.base.paths import Home
from engine.control.protocol import Greeting
from engine.control.queue_state import QueueState

if TYPE_CHECKING:
    from engine.spec.devices import GpuReading, HostReading

PATIENCE_SECONDS = 1.0
SECONDS_BETWEEN_PULSES = 1.5
"""With the timeout above, a hanging engine is reported within three seconds."""


class EngineState(StrEnum):
    """Whether the engine can answer requests."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    SILENT = "not responding"
    FOREIGN = "another version"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One reading of everything shown in the headline."""

    engine: EngineState
    greeting: Greeting | None = None
    trouble: str | None = None
    """Problem with the engine and its remedy, in one line."""
    gpus: tuple[GpuReading, ...] = ()
    host: HostReading | None = None


def take_pulse(home: Home) -> Pulse:
    """Read the status of engine and devices, which takes up to `PATIENCE_SECONDS`."""
    # Imported here, so that the first frame does not wait for NVML's bindings.
    from engine.control import launch
    from engine.spec.devices import read_gpus, read_host

    gpus = read_gpus()
    host = None if gpus else read_host()
    try:
        greeting = launch.greet(home, patience_seconds=PATIENCE_SECONDS)
        if greeting is None:
            down = "no engine serves: nothing is queued or watched until one starts (key E)"
            return Pulse(EngineState.DOWN, trouble=down, gpus=gpus, host=host)
        launch.check_version(greeting)
    except EngineUnreachable:
        silent = "the engine is not responding: training goes on, and requests wait until it answers"
        return Pulse(EngineState.SILENT, trouble=silent, gpus=gpus, host=host)
    except UsageError as error:
        return Pulse(EngineState.FOREIGN, trouble=f"{error} (key E)", gpus=gpus, host=host)
    except DepthscopeError as error:
        return Pulse(EngineState.DOWN, trouble=str(error), gpus=gpus, host=host)
    return Pulse(EngineState.UP, greeting=greeting, trouble=greeting.trouble, gpus=gpus, host=host)


def engine_label(pulse: Pulse) -> str:
    """Engine status and uptime, such as "engine up 2h13"; without seconds, so that it is rarely redrawn."""
    if pulse.greeting is None:
        return f"engine {pulse.engine}"
    minutes = pulse.greeting.uptime_seconds // 60
    return f"engine up {duration(minutes * 60) if minutes else '< 1m'}"


def queue_label(pulse: Pulse) -> str:
    """Suffix for the number of queued runs while the queue is held or draining."""
    if pulse.greeting is None or pulse.greeting.queue is QueueState.OPEN:
        return ""
    return f", {pulse.greeting.queue}"


def host_label(host: HostReading) -> str:
    """CPU and memory use of the host, rounded, for machines without a GPU."""
    return f"cpu {round(host.cpu_percent / 5) * 5} %  {memory_label(host.used_bytes, host.total_bytes)}"


def gpu_label(gpu: GpuReading) -> str:
    """A GPU's model, utilisation, memory, power, temperature, and whether another user is on it."""
    parts = [f"{gpu.name} {gpu.model}"]
    if gpu.util_percent is not None:
        parts.append(f"{gpu.util_percent} %")
    if gpu.used_bytes is not None:
        parts.append(memory_label(gpu.used_bytes, gpu.total_bytes))
    if gpu.power_watts is not None:
        parts.append(f"{gpu.power_watts:.0f} W")
    if gpu.temperature_celsius is not None:
        parts.append(f"{gpu.temperature_celsius} °C")
    if gpu.foreign_pids:
        parts.append("in use by another user")
    return "  ".join(parts)


def memory_label(used: int, total: int | None) -> str:
    """Used and total memory: 31/139 GiB."""
    if total is None:
        return byte_size(used)
    gib = 1 << 30
    return f"{used / gib:.0f}/{total / gib:.0f} GiB" if total >= 10 * gib else f"{byte_size(used)}/{byte_size(total)}"
