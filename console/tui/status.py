"""How the engine and the devices are, asked off the UI thread: an engine that hangs must not hang the console."""

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
"""With the patience above, an engine that hangs is told within three seconds."""


class EngineState(StrEnum):
    """Whether requests would be answered."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    SILENT = "not responding"
    FOREIGN = "another version"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One reading of everything that the headline shows."""

    engine: EngineState
    greeting: Greeting | None = None
    trouble: str | None = None
    """What is wrong with the engine and what to do, in a line."""
    gpus: tuple[GpuReading, ...] = ()
    host: HostReading | None = None


def take_pulse(home: Home) -> Pulse:
    """Ask engine and devices; takes up to `PATIENCE_SECONDS`."""
    # In the thread that asks: the first frame does not wait for NVML's bindings and what starts an engine.
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


def engine_words(pulse: Pulse) -> str:
    """The engine in a few words: up 2h13; the minutes move, the seconds do not, so that little is redrawn."""
    if pulse.greeting is None:
        return f"engine {pulse.engine}"
    minutes = pulse.greeting.uptime_seconds // 60
    return f"engine up {duration(minutes * 60) if minutes else '< 1m'}"


def queue_words(pulse: Pulse) -> str:
    """Says behind the number of queued runs that none of them is started just now."""
    if pulse.greeting is None or pulse.greeting.queue is QueueState.OPEN:
        return ""
    return f", {pulse.greeting.queue}"


def host_words(host: HostReading) -> str:
    """The host where there is no GPU, in rounded numbers."""
    return f"cpu {round(host.cpu_percent / 5) * 5} %  {memory_words(host.used_bytes, host.total_bytes)}"


def gpu_words(gpu: GpuReading) -> str:
    """A GPU: what it is, how busy, how full, how hot, and whether somebody else is on it."""
    parts = [f"{gpu.name} {gpu.model}"]
    if gpu.util_percent is not None:
        parts.append(f"{gpu.util_percent} %")
    if gpu.used_bytes is not None:
        parts.append(memory_words(gpu.used_bytes, gpu.total_bytes))
    if gpu.power_watts is not None:
        parts.append(f"{gpu.power_watts:.0f} W")
    if gpu.temperature_celsius is not None:
        parts.append(f"{gpu.temperature_celsius} °C")
    if gpu.foreign_pids:
        parts.append("in use by another user")
    return "  ".join(parts)


def memory_words(used: int, total: int | None) -> str:
    """Used and whole memory: 31/139 GiB."""
    if total is None:
        return byte_size(used)
    gib = 1 << 30
    return f"{used / gib:.0f}/{total / gib:.0f} GiB" if total >= 10 * gib else f"{byte_size(used)}/{byte_size(total)}"
