"""Fixtures: the console with a fixed index, at a fixed time of day, on an idle machine."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot

import console.planning.estimates
import console.planning.planning
import console.tui.engine_link
import engine.estimates.fitting
import engine.spec.devices
import engine.spec.places
from console.app import ConsoleApp
from console.tui.config import Config
from console.tui.status import EngineState, Pulse
from engine.base.paths import Home
from engine.control.protocol import Greeting
from engine.spec.devices import CPU, HostReading
from engine.spec.precision import Precision
from tests import samples
from tests.console.driving import text_of

UP = Pulse(
    EngineState.UP,
    greeting=Greeting(id="", pid=1, uptime_seconds=7980.0),
    host=HostReading(cpu_percent=41.0, used_bytes=9 << 30, total_bytes=24 << 30),
)


@pytest.fixture
def still_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock to the samples' time of day, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: samples.NOW)


@pytest.fixture
def terminal_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a terminal with Unicode and colours."""
    for name in ("LC_ALL", "LC_CTYPE", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def pulses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Status reported by engine and devices; a test may set another pulse under "now"."""
    answer: dict[str, Any] = {"now": UP}
    monkeypatch.setattr(console.tui.engine_link, "take_pulse", lambda _home: answer["now"])
    monkeypatch.setattr(console.tui.engine_link, "find_logout_risk", lambda _home: None)
    # It would start a real engine.
    monkeypatch.setattr(console.tui.engine_link, "repair_index", lambda _home: None)
    return answer


@pytest.fixture
def sample_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the machine the samples were trained on: two cores with float32 only, and 24 GiB."""
    for module in (console.planning.estimates, console.planning.planning):
        monkeypatch.setattr(module, "find_devices", lambda: (CPU,))
    monkeypatch.setattr(console.planning.estimates, "device_name", lambda _device: "a processor")
    for module in (console.planning.estimates, engine.spec.places):
        monkeypatch.setattr(module, "num_cores", lambda: 2)
    monkeypatch.setattr(engine.estimates.fitting, "machine_bytes", lambda: 24 << 30)
    monkeypatch.setattr(engine.spec.devices, "of_cpu", lambda: (Precision.FP32,))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture(scope="session")
def filled_homes() -> dict[Callable[[Home], None], Path]:
    """Homes by the function that fills them, each filled once and copied."""
    return {}


def hear_now(home: Home) -> None:
    """Refresh when a copied home's runs were last seen; a minute after filling they would count as stalled."""
    with contextlib.closing(apsw.Connection(str(home.database))) as index:
        index.execute("UPDATE runs SET seen_at = ? WHERE seen_at IS NOT NULL", (time.monotonic(),))


@pytest.fixture
def make_app(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    filled_homes: dict[Callable[[Home], None], Path],
    still_time: None,
    terminal_words: None,
    pulses: dict[str, Any],
    sample_machine: None,
) -> Callable[..., ConsoleApp]:
    """Create the app with the small sample, or with what `fill` puts into the home."""

    def make(fill: Callable[[Home], None] | None = samples.fill_small, config: Config | None = None) -> ConsoleApp:
        home = Home(tmp_path / "home").create()
        if fill is not None and not home.database.exists():
            if fill not in filled_homes:
                filled = Home(tmp_path_factory.mktemp("filled") / "home").create()
                fill(filled)
                filled_homes[fill] = filled.root
            shutil.copytree(filled_homes[fill], home.root, dirs_exist_ok=True)
            hear_now(home)
        return ConsoleApp(home, config or Config(), starts_engine=False)

    return make


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record requests instead of sending them to the engine."""
    requests: list[Any] = []
    monkeypatch.setattr(console.tui.engine_link, "ask_for", lambda _home, request: requests.append(request))
    return requests


class TextSnapshot(SingleFileSnapshotExtension):
    """A screen's characters, as one line of text per row."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def text_compare(snapshot: SnapshotAssertion) -> Callable[..., Awaitable[bool]]:
    """Compare a screen's characters with an approved snapshot."""
    expected = snapshot.use_extension(TextSnapshot)

    async def compare(
        app: ConsoleApp, *, terminal_size: tuple[int, int], run_before: Callable[[Pilot[Any]], Awaitable[None]]
    ) -> bool:
        async with app.run_test(size=terminal_size) as pilot:
            await run_before(pilot)
            text = text_of(app)
        # Asserted here, so that pytest shows the differing lines.
        assert text == expected
        return True

    return compare
