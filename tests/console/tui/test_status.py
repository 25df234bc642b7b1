"""Labels of engine and devices in the headline."""

from __future__ import annotations

from console.tui.status import EngineState, Pulse, engine_label, gpu_label, host_label
from engine.control.protocol import Greeting
from engine.spec.devices import GpuReading, HostReading

GIB = 1 << 30


def test_a_gpu_shows_load_memory_power_and_temperature():
    """In one line, like nvitop."""
    gpu = GpuReading(
        name="cuda:0",
        model="H200",
        util_percent=87,
        used_bytes=31 * GIB,
        total_bytes=139 * GIB,
        power_watts=412.3,
        temperature_celsius=61,
    )

    assert gpu_label(gpu) == "cuda:0 H200  87 %  31/139 GiB  412 W  61 °C"


def test_a_gpu_of_which_the_driver_hides_a_part_shows_the_rest():
    """Unknown numbers are left out; use by another user is shown."""
    gpu = GpuReading(
        name="cuda:1",
        model="H200",
        util_percent=None,
        used_bytes=2 * GIB,
        total_bytes=139 * GIB,
        power_watts=None,
        temperature_celsius=None,
        foreign_pids=(4711,),
    )

    assert gpu_label(gpu) == "cuda:1 H200  2/139 GiB  in use by another user"


def test_the_host_is_rounded_so_that_little_is_redrawn():
    """To five percent, enough for a glance."""
    assert host_label(HostReading(cpu_percent=43.2, used_bytes=9 * GIB, total_bytes=24 * GIB)) == "cpu 45 %  9/24 GiB"


def test_the_engine_counts_minutes():
    """Showing seconds would redraw the line every second."""
    up = Pulse(EngineState.UP, greeting=Greeting(id="", pid=1, uptime_seconds=7999.0))

    assert engine_label(up) == "engine up 2h13"
    assert engine_label(Pulse(EngineState.SILENT)) == "engine not responding"
